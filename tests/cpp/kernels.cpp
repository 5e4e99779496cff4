// The kernels without Python: every path, dtype, width, layout and number of threads against law.hpp and the known answers.
//
//   kernels VECTORS [PATH...]
//
// VECTORS is tests/vectors/mask-law-v1.json. Without a PATH (portable, avx2, avx512), all that this CPU can run are tested.
// Prints what failed; exit status 1 if anything did, 2 if the program was called wrongly.
#include "dropout.hpp"
#include "replacement.hpp"

#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "law.hpp"
#include "submatrices.hpp"
#include "vectors.hpp"

using namespace thinned;

namespace {

constexpr Dtype kAll[] = {Dtype::f32, Dtype::f64, Dtype::f16, Dtype::bf16, Dtype::c64, Dtype::c128, Dtype::keep};
const char* const kDtypeNames[] = {"float32", "float64", "float16", "bfloat16", "complex64", "complex128", "keep"};
const char* const kPathNames[] = {"portable", "avx2", "avx512"};
const char* name(Dtype d) { return kDtypeNames[static_cast<int>(d)]; }
const char* name(Path p) { return kPathNames[static_cast<int>(p)]; }
const Tiles* table(Path p) { return p == Path::avx512 ? avx512_tiles() : p == Path::avx2 ? avx2_tiles() : portable_tiles(); }

constexpr char kPoison = '\xff';  // four or more such bytes are a nan in every dtype, and no keep byte
constexpr std::size_t kGuard = 1024;

int64_t checks = 0, failures = 0;
std::mt19937_64 random_bits(2027);
uint64_t below(uint64_t n) { return random_bits() % n; }

void check(bool right, const std::string& what) {
  ++checks;
  if (right || ++failures > 20) return;  // the first few say enough
  std::printf("FAILED %s\n", what.c_str());
}

// Memory of exactly this many bytes, filled with random ones: as floating numbers they hold nan, inf, subnormals and -0.0.
// What lies beside it belongs to no one, so that AddressSanitizer sees a read that goes too far.
struct Input {
  std::unique_ptr<char[]> bytes;
  explicit Input(std::size_t size) : bytes(new char[size]) {
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(random_bits());
  }
  const char* data() const { return bytes.get(); }
};

// Poisoned memory that starts `shift` bytes after a multiple of 64, with a guard on either side.
struct Output {
  std::vector<char> all;
  std::size_t begin, size;
  Output(std::size_t bytes, std::size_t shift) : all(bytes + 2 * kGuard + 128, kPoison), begin(kGuard), size(bytes) {
    while (reinterpret_cast<uintptr_t>(all.data() + begin) % 64 != 0) ++begin;
    begin += shift;
  }
  char* data() { return all.data() + begin; }
  bool guards_hold() const {
    for (std::size_t i = 0; i < all.size(); ++i)
      if ((i < begin || i >= begin + size) && all[i] != kPoison) return false;
    return true;
  }
};

Law law_of(int bits, uint32_t threshold, uint64_t seed, uint64_t stream) {
  return {seed, stream, threshold, bits, 1 / (1 - threshold / std::ldexp(1.0, bits))};
}

Law any_law() {
  const int bits = below(2) ? 16 : 32;
  const uint64_t most = (uint64_t{1} << bits) - 1;
  const uint64_t thresholds[] = {1, most, most / 2 + 1, most / 10, 1 + below(most), 1 + below(most)};
  const uint64_t seeds[] = {0, ~uint64_t{0}, random_bits(), random_bits()};
  return law_of(bits, static_cast<uint32_t>(thresholds[below(6)]), seeds[below(4)], seeds[below(4)]);
}

// --- one run of memory ------------------------------------------------------------------------------------------------

struct Run {
  Path path;
  Dtype dtype;
  Law law;
  uint64_t start;
  int64_t n;
  int threads;
  int shift;  // elements from a multiple of 64 bytes
  bool in_place;

  std::string describe() const {
    return std::string(name(path)) + " " + name(dtype) + ", " + std::to_string(law.bits) + " bits, threshold " +
           std::to_string(law.threshold) + ", start " + std::to_string(start) + ", n " + std::to_string(n) + ", " +
           std::to_string(threads) + " threads, shift " + std::to_string(shift) + (in_place ? ", in place" : "");
  }
};

// Compares n elements at y with what the law makes of those at x, and says where the first difference is.
void compare(const std::string& what, Dtype dtype, const Law& law, uint64_t start, int64_t n, const char* x, const char* y) {
  const std::size_t size = element_size(dtype);
  char want[kMaxElement];
  for (int64_t i = 0; i < n; ++i) {
    const std::size_t at = static_cast<std::size_t>(i) * size;
    expected::element(dtype, x + at, expected::keep(law, start + static_cast<uint64_t>(i)), law.scale, want);
    if (!expected::same(dtype, y + at, want)) return check(false, what + ": element " + std::to_string(i));
  }
  check(true, what);
}

void one_run(const Run& r) {
  const std::size_t size = element_size(r.dtype), bytes = static_cast<std::size_t>(r.n) * size;
  const Input x(bytes);
  Output y(bytes, static_cast<std::size_t>(r.shift) * size);
  if (r.in_place) std::memcpy(y.data(), x.data(), bytes);
  dropout(r.in_place ? y.data() : x.data(), y.data(), r.start, r.n, r.dtype, r.law, {r.threads, r.path, !r.in_place});
  compare(r.describe(), r.dtype, r.law, r.start, r.n, x.data(), y.data());
  check(y.guards_hold(), r.describe() + ": memory beside the output changed");
}

void runs(Path path) {
  const uint64_t one = 1;
  // counters pass a multiple of 2**32 at index 2**34 (32 bits) and 2**35 (16 bits)
  const uint64_t starts[] = {0, 1, 255, 512, 777, (one << 32) - 300, (one << 34) - 300, (one << 35) - 300, (one << 35) + 7,
                             (one << 63) - 300};
  const int64_t sizes[] = {0, 1, 63, 500, 1000, 4097};
  int turn = 0;
  for (const Dtype dtype : kAll)
    for (const uint64_t start : starts)
      for (const int64_t n : sizes) {
        ++turn;
        one_run({path, dtype, any_law(), start, n, 1 + turn % 8, turn % 3, turn % 4 == 0});
      }
  for (const Dtype dtype : kAll)
    for (const int bits : {16, 32})
      for (const int threads : {1, 2, 5, 8})
        one_run({path, dtype, law_of(bits, bits == 16 ? 19661 : 4294967, random_bits(), 3), below(2000), 100'003, threads,
                 threads % 3, threads == 5});
}

// All 65,536 numbers of a 16-bit format, each of them kept.
void every_short(Path path) {
  for (const Dtype dtype : {Dtype::f16, Dtype::bf16})
    for (const double scale : {1.0, 1 / 0.9, 1.25, 2.0, 10.0, 1e4, 1e-4}) {
      std::vector<uint16_t> x(65536), y(65536), strided(65536);
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint16_t>(i);
      const Law law{0, 0, 1, 32, scale};
      dropout(x.data(), y.data(), 0, 65536, dtype, law, {1, path, false});
      dropout_strided(x.data(), strided.data(), {{256, 1, 1, 1}, {256, 256, 256, 256}}, 0, dtype, law, {1, path, false});
      const auto bytes = [](const std::vector<uint16_t>& v) { return reinterpret_cast<const char*>(v.data()); };
      const std::string what = std::string(name(path)) + " every " + name(dtype) + " times " + std::to_string(scale);
      compare(what, dtype, law, 0, 65536, bytes(x), bytes(y));
      compare(what + ", strided", dtype, law, 0, 65536, bytes(x), bytes(strided));
    }
}

// --- past the cache ---------------------------------------------------------------------------------------------------

void whole_tiles(Path path) {
  for (const Dtype dtype : kAll)
    for (const int bits : {16, 32})
      for (const uint64_t tile : {uint64_t{0}, uint64_t{5}, (uint64_t{1} << 26) - 2})  // counters pass 2**32 two tiles later
        for (const bool streaming : {false, true}) {
          Law law = law_of(bits, 1, random_bits(), tile);  // the threshold is one of the numbers: an equal one is kept
          const uint64_t start = tile * static_cast<uint64_t>(law.tile());
          law.threshold = std::max(1u, expected::random_bits(law, start + below(static_cast<uint64_t>(5 * law.tile()))));
          const std::size_t n = static_cast<std::size_t>(5 * law.tile()), bytes = n * element_size(dtype);
          const Input x(bytes);
          Output y(bytes, 0);
          table(path)[static_cast<int>(dtype)](x.data(), y.data(), tile, 5, law, streaming);
          const std::string what = std::string(name(path)) + " tiles of " + name(dtype) + ", " + std::to_string(bits) +
                                   " bits, tile " + std::to_string(tile) + (streaming ? ", streaming" : "");
          compare(what, dtype, law, start, static_cast<int64_t>(n), x.data(), y.data());
          check(y.guards_hold(), what + ": memory beside the output changed");
        }
}

// A result too large for the cache, whole and in parts that are small enough not to be streamed. Three dtypes will do:
// what is tried here is where the streamed run begins and ends.
void large(Path path) {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16, Dtype::c128}) {
    const std::size_t size = element_size(dtype), bytes = (std::size_t{16} << 20) + 5 * size;
    const int64_t n = static_cast<int64_t>(bytes / size), step = 99'991;
    const std::vector<char> x(bytes, 'x');
    const Law law = any_law();
    Output parts(bytes, 0);
    for (int64_t at = 0; at < n; at += step) {
      const std::size_t offset = static_cast<std::size_t>(at) * size;
      dropout(x.data() + offset, parts.data() + offset, 7 + static_cast<uint64_t>(at), std::min(step, n - at), dtype, law,
              {1, path, false});
    }
    for (const std::size_t shift : {std::size_t{0}, size}) {
      Output whole(bytes, shift);
      dropout(x.data(), whole.data(), 7, n, dtype, law, {3, path, true});
      const std::string what = std::string(name(path)) + " 16 MiB of " + name(dtype) + ", shift " + std::to_string(shift);
      check(std::memcmp(whole.data(), parts.data(), bytes) == 0, what);
      check(whole.guards_hold(), what + ": memory beside the output changed");
    }
  }
}

// --- any layout -------------------------------------------------------------------------------------------------------

struct Layout {
  std::vector<Axis> axes;
  int64_t n = 1, x_extent = 1, y_extent = 1;
  uint64_t start = 0;
};

// Strides for the axes in a random order of memory, with gaps. Returns how many elements the memory must have.
int64_t random_strides(std::vector<Axis>& axes, int64_t Axis::*stride, bool expand) {
  std::vector<Axis*> order;
  for (Axis& a : axes) order.push_back(&a);
  std::shuffle(order.begin(), order.end(), random_bits);
  int64_t next = 1 + static_cast<int64_t>(below(2)), last = 0;
  for (Axis* a : order) {
    a->*stride = expand && below(5) == 0 ? 0 : next;
    last += (a->size - 1) * (a->*stride);
    if (a->*stride != 0) next = a->size * next + static_cast<int64_t>(below(2) * below(4));
  }
  return last + 1;
}

Layout random_layout(bool in_place) {
  Layout layout;
  for (uint64_t d = below(6); d-- > 0;) layout.axes.push_back({1 + static_cast<int64_t>(below(d == 1 ? 40 : 9)), 0, 0, 0});
  uint64_t stride = 1;
  const bool window = below(2), contiguous = below(3) == 0;
  for (auto a = layout.axes.rbegin(); a != layout.axes.rend(); ++a) {
    layout.n *= a->size;
    if (below(4) == 0) continue;  // a shared axis
    const uint64_t before = window ? below(1000) : 0, after = window ? below(100'000) : 0;
    a->mask = stride;
    layout.start += before * stride;
    stride *= before + static_cast<uint64_t>(a->size) + after;
  }
  layout.x_extent = random_strides(layout.axes, &Axis::x, !in_place);
  layout.y_extent = random_strides(layout.axes, &Axis::y, false);
  if (contiguous) {
    int64_t dense = 1;
    for (auto a = layout.axes.rbegin(); a != layout.axes.rend(); dense *= a++->size) a->x = a->y = dense;
    layout.x_extent = layout.y_extent = dense;
  }
  if (in_place) {
    for (Axis& a : layout.axes) a.x = a.y;
    layout.x_extent = layout.y_extent;
  }
  return layout;
}

void any_layout(Path path, Dtype dtype, int threads, bool in_place) {
  const Layout layout = random_layout(in_place);
  const Law law = any_law();
  const std::size_t size = element_size(dtype);
  const Input x(static_cast<std::size_t>(layout.x_extent) * size);
  const std::size_t bytes = static_cast<std::size_t>(layout.y_extent) * size;
  Output y(bytes, size);
  if (in_place) std::memcpy(y.data(), x.data(), bytes);
  std::vector<char> want(y.data(), y.data() + bytes);  // what lies between the elements stays as it was
  std::string what = std::string(name(path)) + " " + name(dtype) + ", " + std::to_string(law.bits) + " bits, start " +
                     std::to_string(layout.start) + (in_place ? ", in place" : "") + ", axes (size, x, y, mask):";
  for (const Axis& a : layout.axes)
    what += " (" + std::to_string(a.size) + ", " + std::to_string(a.x) + ", " + std::to_string(a.y) + ", " +
            std::to_string(a.mask) + ")";
  for (int64_t i = 0; i < layout.n; ++i) {
    int64_t rest = i, from = 0, to = 0;
    uint64_t index = layout.start;
    for (auto a = layout.axes.rbegin(); a != layout.axes.rend(); rest /= a++->size) {
      from += rest % a->size * a->x;
      to += rest % a->size * a->y;
      index += static_cast<uint64_t>(rest % a->size) * a->mask;
    }
    expected::element(dtype, x.data() + static_cast<std::size_t>(from) * size, expected::keep(law, index), law.scale,
                      want.data() + static_cast<std::size_t>(to) * size);
  }
  dropout_strided(in_place ? y.data() : x.data(), y.data(), layout.axes, layout.start, dtype, law, {threads, path, false});
  bool right = true;
  for (std::size_t at = 0; at < bytes; at += size) right &= expected::same(dtype, y.data() + at, want.data() + at);
  check(right, what);
  check(y.guards_hold(), what + ": memory beside the output changed");
}

void layouts(Path path) {
  for (int turn = 0; turn < 600; ++turn) any_layout(path, kAll[turn % 6], 1 + turn % 4, turn % 5 == 0);
  dropout_strided(nullptr, nullptr, {{3, 1, 1, 1}, {0, 1, 1, 1}}, 0, Dtype::f32, any_law(), {2, path, false});  // empty
}

// --- the known answers ------------------------------------------------------------------------------------------------

void known(Path path, const Vectors& vectors) {
  for (const std::string& c : vectors.objects("cases")) {
    const Law law = law_of(static_cast<int>(Vectors::number(c, "bits")), static_cast<uint32_t>(Vectors::number(c, "threshold")),
                           Vectors::number(c, "seed"), Vectors::number(c, "stream"));
    const uint64_t start = Vectors::number(c, "start"), n = Vectors::number(c, "n");
    std::vector<uint8_t> keep(n, 255);
    dropout(keep.data(), keep.data(), start, static_cast<int64_t>(n), Dtype::keep, law, {1, path, false});
    std::string first;
    uint64_t kept = 0, as_expected = 0;
    for (uint64_t i = 0; i < n; ++i) {
      if (i < 64) first += static_cast<char>('0' + keep[i]);
      kept += keep[i];
      as_expected += keep[i] == expected::keep(law, start + i);
    }
    const std::string what = std::string(name(path)) + " known mask" + c.substr(1, c.find("\"first64\"") - 1);
    check(first == Vectors::string(c, "first64") && kept == Vectors::number(c, "kept"), what);
    check(as_expected == n, what + ": not what law.hpp says");
  }
  for (const std::string& c : vectors.objects("windows")) {
    const std::vector<int64_t> whole = Vectors::list(c, "global_shape"), first = Vectors::list(c, "start"),
                               extent = Vectors::list(c, "extent"), shared = Vectors::list(c, "shared_axes");
    std::vector<Axis> axes(extent.size());
    uint64_t start = 0, stride = 1;
    int64_t n = 1;
    for (std::size_t d = extent.size(); d-- > 0; n *= extent[d]) {
      const bool is_shared = std::count(shared.begin(), shared.end(), static_cast<int64_t>(d)) > 0;
      axes[d] = {extent[d], n, n, is_shared ? 0 : stride};
      start += axes[d].mask * static_cast<uint64_t>(first[d]);
      if (!is_shared) stride *= static_cast<uint64_t>(whole[d]);
    }
    const uint32_t threshold = static_cast<uint32_t>(std::nearbyint(Vectors::real(c, "p") * 65536));
    std::vector<float> y(static_cast<std::size_t>(n), 1.0f);
    dropout_strided(y.data(), y.data(), axes, start, Dtype::f32,
                    law_of(16, threshold, Vectors::number(c, "seed"), Vectors::number(c, "stream")), {2, path, false});
    const auto kept = static_cast<uint64_t>(n - std::count(y.begin(), y.end(), 0.0f));
    check(kept == Vectors::number(c, "kept"), std::string(name(path)) + " known window" + c.substr(1));
  }
}

// --- replacement ------------------------------------------------------------------------------------------------------

template <class Length, class Value>
void segments(Path path, int64_t count, int threads) {
  const Law law = any_law();
  const uint64_t start = below(1'000'000);
  std::vector<Length> lengths(static_cast<std::size_t>(count)), new_lengths(lengths.size()), want_lengths;
  std::vector<Value> values, want;
  for (Length& length : lengths) length = static_cast<Length>(below(5));
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const bool stays = expected::keep(law, start + i);
    for (Length k = 0; k < lengths[i]; ++k) {
      values.push_back(static_cast<Value>(random_bits()));
      if (stays) want.push_back(values.back());
    }
    if (!stays) want.push_back(-7);
    want_lengths.push_back(stays ? lengths[i] : 1);
  }
  const std::string what = std::string(name(path)) + " " + std::to_string(count) + " segments";
  const Segments s{lengths.data(), sizeof(Length), count, static_cast<int64_t>(values.size())};
  std::vector<int64_t> starts(static_cast<std::size_t>(2 * s.blocks()));
  const How how{threads, path, false};
  const int64_t total = count_segments(s, new_lengths.data(), starts.data(), start, law, how);
  check(total == static_cast<int64_t>(want.size()) && new_lengths == want_lengths, what + ": count");
  if (total < 0) return;
  std::vector<Value> result(static_cast<std::size_t>(total));
  const Id id{-7, sizeof(Value)};
  replace_segments(s, values.data(), result.data(), total, starts.data(), id, start, law, how);
  check(result == want, what + ": values");
  std::vector<Value> single(values.size());
  replace_items(values.data(), single.data(), s.items, id, start, law, how);
  bool right = true;
  for (std::size_t i = 0; i < values.size(); ++i) right &= single[i] == (expected::keep(law, start + i) ? values[i] : Value{-7});
  check(right, what + ": single values");
  if (count == 0) return;
  const std::size_t at = below(lengths.size());
  const Length before = lengths[at];
  for (const auto& [wrong, fault] : {std::pair{Length{-1}, Fault::negative},
                                     std::pair{static_cast<Length>(before + 1), Fault::sum},
                                     std::pair{std::numeric_limits<Length>::max(), Fault::sum}}) {
    lengths[at] = wrong;
    const int64_t found = count_segments(s, new_lengths.data(), starts.data(), start, law, how);
    check(found == static_cast<int64_t>(fault), what + ": a fault is found");
  }
}

void replacement(Path path) {
  for (const int64_t count : {0, 1, 4096, 4097, 20'000})
    for (const int threads : {1, 3}) {
      segments<int32_t, int32_t>(path, count, threads);
      segments<int32_t, int64_t>(path, count, threads);
      segments<int64_t, int32_t>(path, count, threads);
      segments<int64_t, int64_t>(path, count, threads);
    }
}

// --- many callers -----------------------------------------------------------------------------------------------------

void at_once(Path path) {
  constexpr int64_t n = 100'000;
  const Input x(n * 4);
  const Law law = law_of(16, 32768, 1, 2);
  std::vector<std::vector<char>> results(6, std::vector<char>(n * 4, kPoison));
  std::vector<std::thread> callers;
  for (std::size_t c = 0; c < results.size(); ++c)
    callers.emplace_back([&, c] {
      if (c % 2 == 0) dropout(x.data(), results[c].data(), 0, n, Dtype::f32, law, {3, path, false});
      else dropout_strided(x.data(), results[c].data(), {{100, 1, 1, 1000}, {1000, 100, 100, 1}}, 0, Dtype::f32, law,
                           {3, path, false});
    });
  for (std::thread& caller : callers) caller.join();
  compare(std::string(name(path)) + " many callers at once", Dtype::f32, law, 0, n, x.data(), results[0].data());
  for (std::size_t c = 2; c < results.size(); ++c)
    check(results[c] == results[c % 2], std::string(name(path)) + " many callers at once: caller " + std::to_string(c));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "usage: kernels VECTORS [PATH...]\n"), 2;
  const Vectors vectors(argv[1]);
  std::vector<Path> paths = argc == 2 ? available_paths() : std::vector<Path>{};
  for (int i = 2; i < argc; ++i) {
    const auto found = std::find(std::begin(kPathNames), std::end(kPathNames), std::string(argv[i]));
    if (found == std::end(kPathNames)) return std::fprintf(stderr, "no path is called %s\n", argv[i]), 2;
    paths.push_back(static_cast<Path>(found - std::begin(kPathNames)));
    if (!table(paths.back())) return std::fprintf(stderr, "%s was not compiled in\n", argv[i]), 2;
  }
  for (const Path path : paths) {
    known(path, vectors);
    runs(path);
    every_short(path);
    whole_tiles(path);
    large(path);
    layouts(path);
    replacement(path);
    at_once(path);
    submatrices::test(path, name(path), check);
    std::printf("%s: %lld checks, %lld failures so far\n", name(path), static_cast<long long>(checks),
                static_cast<long long>(failures));
  }
  return failures == 0 ? 0 : 1;
}
