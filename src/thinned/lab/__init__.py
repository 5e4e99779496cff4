"""The laboratory: train networks under several kinds of dropout on your data, and see which one helps."""
