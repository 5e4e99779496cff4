#include "dropout.hpp"

#include <algorithm>
#include <cstring>

#include "memory.hpp"
#include "parallel.hpp"

namespace thinned {
namespace {

constexpr int64_t kPieceTiles = 64;             // 32,768 elements at 16 bits: below this one thread is faster than two
constexpr int64_t kStreamingBytes = 16 << 20;   // a larger result does not fit in the cache beside its reader

const Tiles* table(Path path, bool affine) {
  if (affine) return path != Path::portable && avx2_affine_tiles() ? avx2_affine_tiles() : portable_affine_tiles();
  switch (path) {
    case Path::avx512: return avx512_tiles();
    case Path::avx2: return avx2_tiles();
    default: return portable_tiles();
  }
}

struct Kernel {
  Tiles tiles;
  std::size_t size;
  Law law;
  bool streaming;

  Kernel(Dtype dtype, const Law& l, Path path, bool stream)
      : tiles(table(path, dtype != Dtype::keep && l.affine())[static_cast<int>(dtype)]), size(element_size(dtype)), law(l), streaming(stream) {}

  // Indices [first, last), all in one tile, by way of a whole tile in a buffer.
  void part(const char* x, char* y, uint64_t first, uint64_t last) const {
    alignas(64) char buffer[kMaxTile * kMaxElement];
    const uint64_t tile = static_cast<uint64_t>(law.tile()), number = first / tile;
    const std::size_t begin = (first - number * tile) * size, bytes = (last - first) * size, all = tile * size;
    std::memset(buffer, 0, begin);
    std::memcpy(buffer + begin, x, bytes);
    std::memset(buffer + begin + bytes, 0, all - begin - bytes);
    tiles(buffer, buffer, number, 1, law, false);
    std::memcpy(y, buffer + begin, bytes);
  }

  // Indices [first, last); x and y point at the element of index `first`.
  void range(const char* x, char* y, uint64_t first, uint64_t last) const {
    const uint64_t tile = static_cast<uint64_t>(law.tile());
    const auto advance = [&](uint64_t next) {
      x += (next - first) * size;
      y += (next - first) * size;
      first = next;
    };
    if (first % tile != 0) {
      const uint64_t next = std::min(last, (first / tile + 1) * tile);
      part(x, y, first, next);
      advance(next);
    }
    const uint64_t whole = (last - first) / tile;
    if (whole > 0) {
      const bool aligned = reinterpret_cast<uintptr_t>(y) % 64 == 0;
      tiles(x, y, first / tile, static_cast<int64_t>(whole), law, streaming && aligned);
      advance(first + whole * tile);
    }
    if (first < last) part(x, y, first, last);
  }
};

}  // namespace

std::vector<Path> available_paths() {
  std::vector<Path> paths{Path::portable};
#if defined(__x86_64__) || defined(_M_X64)
#if defined(__GNUC__)
  if (avx2_tiles() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c")) paths.push_back(Path::avx2);
  if (avx512_tiles() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("bmi2")) paths.push_back(Path::avx512);
#endif
#endif
  return paths;
}

void dropout(const void* x, void* y, uint64_t start, int64_t n, Dtype dtype, const Law& law, const How& how) {
  if (n <= 0) return;
  const int64_t bytes = n * static_cast<int64_t>(element_size(dtype));
  if (how.fresh) ask_for_huge_pages(y, bytes);
  const Kernel kernel(dtype, law, how.path, bytes >= kStreamingBytes);
  const uint64_t piece = static_cast<uint64_t>(kPieceTiles * law.tile()), last = start + static_cast<uint64_t>(n);
  const uint64_t base = start / piece;
  const auto work = [&](int64_t k) {
    const uint64_t number = base + static_cast<uint64_t>(k);
    const uint64_t from = std::max(start, number * piece), to = std::min(last, (number + 1) * piece);
    const std::size_t at = (from - start) * kernel.size;
    kernel.range(static_cast<const char*>(x) + at, static_cast<char*>(y) + at, from, to);
  };
  parallel(static_cast<int64_t>((last - 1) / piece - base + 1), how.threads, work);
}

void dropout_each(const void* x, void* y, uint64_t start, int64_t n, int64_t count, const uint64_t* seeds, Dtype dtype,
                  const Law& law, const How& how) {
  if (n <= 0) return;
  const uint64_t last = start + static_cast<uint64_t>(n);
  const auto work = [&](int64_t k) {
    Law one = law;
    one.seed = seeds[k];
    const Kernel kernel(dtype, one, how.path, false);
    const std::size_t at = static_cast<std::size_t>(k) * static_cast<std::size_t>(n) * kernel.size;
    kernel.range(static_cast<const char*>(x) + at, static_cast<char*>(y) + at, start, last);
  };
  parallel(count, how.threads, work);
}

}  // namespace thinned
