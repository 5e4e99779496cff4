// Threads. Work is cut into pieces that do not depend on the number of threads, so the result does not either.
//
// torch has loaded an OpenMP runtime and keeps its threads warm; a second pool beside it would fight it for the cores. So
// the runtime is looked up in the running process, never linked. Where there is none, or in a child of fork, where the
// parent's pool is gone and using it would hang, plain threads are started for the call.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>
#if !defined(_WIN32)
#include <dlfcn.h>
#include <pthread.h>
#endif

namespace thinned {

using Team = void (*)(void (*)(void*), void*, unsigned, unsigned);

#if !defined(_WIN32)
// Watched from the moment this is loaded, not from the first call: torch may have started its threads by then, and forked.
inline std::atomic<bool> forked{false};
inline const int watching = pthread_atfork(nullptr, nullptr, [] { forked = true; });
#endif

inline Team openmp_team() {
#if defined(_WIN32)
  return nullptr;
#else
  static const Team team = reinterpret_cast<Team>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  return forked ? nullptr : team;
#endif
}

// This thread's number in its team.
inline unsigned openmp_thread() {
#if defined(_WIN32)
  return 0;
#else
  using Number = int (*)();
  static const Number number = reinterpret_cast<Number>(dlsym(RTLD_DEFAULT, "omp_get_thread_num"));
  return number ? static_cast<unsigned>(number()) : 0;
#endif
}

constexpr unsigned kLanesAtMost = 64;

// Pieces in as many lanes as there are threads, each a range: call after call, a thread begins with the same memory, which
// may still be in the cache of its core. Whoever is done with a lane helps with the next one.
template <class Work>
class Queue {
 public:
  Queue(const Work& work, int64_t pieces, unsigned threads) : work_(work), count_(std::min(threads, kLanesAtMost)) {
    for (unsigned k = 0; k < count_; ++k) {
      lanes_[k].next.store(pieces * k / count_, std::memory_order_relaxed);
      lanes_[k].end = pieces * (k + 1) / count_;
    }
  }
  void drain(unsigned thread) {
    for (unsigned k = 0; k < count_; ++k) {
      Lane& lane = lanes_[(thread + k) % count_];
      for (int64_t piece; (piece = lane.next.fetch_add(1, std::memory_order_relaxed)) < lane.end;) work_(piece);
    }
  }

 private:
  struct alignas(64) Lane {
    std::atomic<int64_t> next;
    int64_t end;
  };
  const Work& work_;
  const unsigned count_;
  Lane lanes_[kLanesAtMost];
};

// Calls work(piece) once for each piece in [0, pieces), on up to `threads` threads, and returns when all are done.
template <class Work>
void parallel(int64_t pieces, int threads, const Work& work) {
  const unsigned team_size = static_cast<unsigned>(std::min<int64_t>(threads, pieces));
  if (team_size <= 1) {
    for (int64_t piece = 0; piece < pieces; ++piece) work(piece);
    return;
  }
  Queue<Work> queue(work, pieces, team_size);
  const auto drain = [](void* q) { static_cast<Queue<Work>*>(q)->drain(openmp_thread()); };
  if (const Team team = openmp_team()) return team(drain, &queue, team_size, 0);
  std::vector<std::thread> others;
  others.reserve(team_size);
  try {
    for (unsigned t = 1; t < team_size; ++t) others.emplace_back([&queue, t] { queue.drain(t); });
  } catch (const std::system_error&) {  // no more threads to be had: those that there are do all the work
  }
  queue.drain(0);
  for (std::thread& other : others) other.join();
}

}  // namespace thinned
