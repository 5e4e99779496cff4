#include "keys.hpp"

#include "philox.hpp"

namespace thinned {

std::vector<uint64_t> site_seeds(uint64_t seed, uint64_t step, const std::vector<uint64_t>& sites) {
  std::vector<uint64_t> seeds;
  seeds.reserve(sites.size());
  for (const uint64_t site : sites) {
    uint32_t words[4];
    words_of(low32(step), share(seed, site, high32(step)), words);
    seeds.push_back(words[0] | static_cast<uint64_t>(words[1]) << 32);
  }
  return seeds;
}

}  // namespace thinned
