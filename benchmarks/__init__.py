"""Benchmarks: cases as data, a correctness gate first, ratios measured interleaved in one process."""
