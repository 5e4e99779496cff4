// The seeds that a key gives to the sites of a model.
#pragma once
#include <cstdint>
#include <vector>

namespace thinned {

// One seed for each site, by the law of keys: the first two words of the counter (step, site) under the key `seed`.
std::vector<uint64_t> site_seeds(uint64_t seed, uint64_t step, const std::vector<uint64_t>& sites);

}  // namespace thinned
