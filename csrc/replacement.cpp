#include "replacement.hpp"

#include <algorithm>
#include <cstring>

#include "memory.hpp"
#include "parallel.hpp"

namespace thinned {
namespace {

constexpr int64_t kItemBlock = 16384;

// The keep bytes of indices [first, first + n), by the calling thread alone.
void keep_bytes(uint8_t* keep, uint64_t first, int64_t n, const Law& law, Path path) {
  dropout(keep, keep, first, n, Dtype::keep, law, {1, path, false});
}

struct Sums {
  uint64_t in, out;  // unsigned: hostile lengths may wrap, and are then a fault anyway
  Fault fault;
};

template <class Length>
Sums count_block(const Length* lengths, const uint8_t* keep, Length* out, int64_t n, int64_t items) {
  uint64_t in = 0, kept = 0;
  Length signs = 0, longest = 0;
  for (int64_t i = 0; i < n; ++i) {  // without a choice or a bool in it, compilers vectorise this
    const Length length = lengths[i], all = -static_cast<Length>(keep[i]), result = (length & all) | (1 & ~all);
    signs |= length;
    longest = std::max(longest, length);
    in += static_cast<uint64_t>(length);
    kept += static_cast<uint64_t>(result);
    out[i] = result;
  }
  return {in, kept, signs < 0 ? Fault::negative : longest > items ? Fault::sum : Fault::none};
}

// Plain vector moves of what is mostly short. memcpy's start-up costs more, and from some KiB on it may choose instructions
// that are slow where x and y are not aligned alike; nor is there a cache miss to hide: the kernel has just cleared y.
template <class Value>
inline void copy_run(const Value* x, Value* y, int64_t n) {
  constexpr int64_t kStep = 32 / sizeof(Value);
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) std::memcpy(y + i, x + i, 32);
  for (; i < n; ++i) y[i] = x[i];
}

template <class Value, class Length>
void copy_block(const Length* lengths, const uint8_t* keep, int64_t n, const Value* x, Value* y, Value id) {
  for (int64_t i = 0; i < n;) {
    int64_t run = 0;
    if (!keep[i]) {
      x += lengths[i++];
      *y++ = id;
      continue;
    }
    while (i < n && keep[i]) run += lengths[i++];  // neighbours that stay are one run of memory
    copy_run(x, y, run);
    x += run;
    y += run;
  }
}

template <class Value>
void items_of(const Value* x, Value* y, const uint8_t* keep, int64_t n, Value id) {
#pragma GCC ivdep  // x may be y, and then each element depends on itself alone
  for (int64_t i = 0; i < n; ++i) y[i] = keep[i] ? x[i] : id;
}

// Calls work with a value of the type that has so many bytes.
template <class Work>
void with_type(int size, const Work& work) {
  size == 4 ? work(int32_t{}) : work(int64_t{});
}

}  // namespace

int64_t count_segments(const Segments& s, void* out, int64_t* starts, uint64_t start, const Law& law, const How& how) {
  parallel(s.blocks(), how.threads, [&](int64_t block) {
    const int64_t first = block * kSegmentBlock, n = std::min(kSegmentBlock, s.count - first);
    uint8_t keep[kSegmentBlock];
    keep_bytes(keep, start + static_cast<uint64_t>(first), n, law, how.path);
    with_type(s.length_size, [&](auto type) {
      using Length = decltype(type);
      const Sums sums = count_block(static_cast<const Length*>(s.lengths) + first, keep, static_cast<Length*>(out) + first, n, s.items);
      const bool sound = sums.fault == Fault::none;
      starts[2 * block] = sound ? static_cast<int64_t>(sums.in) : static_cast<int64_t>(sums.fault);
      starts[2 * block + 1] = static_cast<int64_t>(sums.out);
    });
  });
  int64_t in = 0, kept = 0;
  Fault fault = Fault::none;
  for (int64_t block = 0; block < s.blocks(); ++block) {
    const int64_t block_in = starts[2 * block], block_kept = starts[2 * block + 1];
    if (block_in < 0) {
      if (fault != Fault::negative) fault = static_cast<Fault>(block_in);
      continue;
    }
    starts[2 * block] = in;
    starts[2 * block + 1] = kept;
    if (fault != Fault::none) continue;  // from here on only a negative length would say more
    in += block_in;  // no overflow: a block without fault has at most kSegmentBlock * items values
    kept += block_kept;
    if (in > s.items) fault = Fault::sum;
  }
  if (fault == Fault::none && in != s.items) fault = Fault::sum;
  return fault == Fault::none ? kept : static_cast<int64_t>(fault);
}

void replace_segments(const Segments& s, const void* values, void* out, int64_t total, const int64_t* starts, Id id,
                      uint64_t start, const Law& law, const How& how) {
  if (how.fresh) ask_for_huge_pages(out, total * id.size);
  parallel(s.blocks(), how.threads, [&](int64_t block) {
    const int64_t first = block * kSegmentBlock, n = std::min(kSegmentBlock, s.count - first);
    uint8_t keep[kSegmentBlock];
    keep_bytes(keep, start + static_cast<uint64_t>(first), n, law, how.path);
    with_type(s.length_size, [&](auto length_type) {
      with_type(id.size, [&](auto type) {
        using Length = decltype(length_type);
        using Value = decltype(type);
        copy_block(static_cast<const Length*>(s.lengths) + first, keep, n,
                   static_cast<const Value*>(values) + starts[2 * block], static_cast<Value*>(out) + starts[2 * block + 1],
                   static_cast<Value>(id.value));
      });
    });
  });
}

void replace_items(const void* x, void* y, int64_t n, Id id, uint64_t start, const Law& law, const How& how) {
  if (how.fresh) ask_for_huge_pages(y, n * id.size);
  parallel((n + kItemBlock - 1) / kItemBlock, how.threads, [&](int64_t block) {
    const int64_t first = block * kItemBlock, count = std::min(kItemBlock, n - first);
    uint8_t keep[kItemBlock];
    keep_bytes(keep, start + static_cast<uint64_t>(first), count, law, how.path);
    with_type(id.size, [&](auto type) {
      using Value = decltype(type);
      items_of(static_cast<const Value*>(x) + first, static_cast<Value*>(y) + first, keep, count, static_cast<Value>(id.value));
    });
  });
}

}  // namespace thinned
