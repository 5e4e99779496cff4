// What is done with one element, or with one vector of elements, of a submatrix. `V` is float, double or a vector of floats.
//
// A step gets the elements x of its matrices and the element g of the block. kMatrices says how many matrices there are;
// where kGathers is true the step writes g, else it writes x.
#pragma once
#include <cmath>

#include "submatrix.hpp"

namespace thinned {
namespace {

inline float root(float v) { return std::sqrt(v); }
inline double root(double v) { return std::sqrt(v); }
template <class V> inline V larger(V a, V b) { return a < b || b != b ? b : a; }  // nan if either is, as torch's maximum

struct Gather {
  static constexpr int kMatrices = 1;
  static constexpr bool kGathers = true;
  template <class V> void operator()(V* x, V& g) const { g = x[0]; }
};

struct ScatterAdd {
  static constexpr int kMatrices = 1;
  static constexpr bool kGathers = false;
  template <class V> void operator()(V* x, V& g) const { x[0] = x[0] + g; }
};

template <bool kMomentum>
struct Sgd {  // x: parameter, momentum
  static constexpr int kMatrices = kMomentum ? 2 : 1;
  static constexpr bool kGathers = false;
  SgdStep s;
  template <class V> void operator()(V* x, V g) const {
    if (s.maximize) g = V(-1) * g;
    if (s.weight_decay != 0) g = g + V(s.weight_decay) * x[0];
    if constexpr (kMomentum) {
      x[1] = V(s.momentum) * x[1] + V(1 - s.dampening) * g;
      g = s.nesterov ? g + V(s.momentum) * x[1] : x[1];
    }
    x[0] = x[0] - V(s.lr) * g;
  }
};

template <bool kLargest>
struct Adam {  // x: parameter, first moment, second moment, its maximum
  static constexpr int kMatrices = kLargest ? 4 : 3;
  static constexpr bool kGathers = false;
  AdamStep s;
  template <class V> void operator()(V* x, V g) const {
    if (s.maximize) g = V(-1) * g;
    if (s.weight_decay != 0) {
      if (s.decoupled) {
        x[0] = V(1 - s.lr * s.weight_decay) * x[0];
      } else {
        g = g + V(s.weight_decay) * x[0];
      }
    }
    x[1] = x[1] + V(1 - s.beta1) * (g - x[1]);
    x[2] = V(s.beta2) * x[2] + V(1 - s.beta2) * g * g;
    V second = x[2];
    if constexpr (kLargest) second = x[3] = larger(x[3], x[2]);
    x[0] = x[0] - V(s.lr / s.correction1) * x[1] / (root(second) / V(std::sqrt(s.correction2)) + V(s.eps));
  }
};

}  // namespace

// A function that does a task to rows [first, last) of a submatrix of one dtype.
using Rows = void (*)(const Job& job, int64_t first, int64_t last);

const Rows* avx2_rows();  // one entry for each task, for float; null where AVX2 was not compiled in

}  // namespace thinned
