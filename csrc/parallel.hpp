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

// Calls work(piece) once for each piece in [0, pieces), on up to `threads` threads, and returns when all are done.
template <class Work>
void parallel(int64_t pieces, int threads, const Work& work) {
  struct Queue {
    const Work& work;
    const int64_t pieces;
    std::atomic<int64_t> next{0};
    void drain() {
      for (int64_t piece; (piece = next.fetch_add(1, std::memory_order_relaxed)) < pieces;) work(piece);
    }
  } queue{work, pieces};
  const unsigned team_size = static_cast<unsigned>(std::min<int64_t>(threads, pieces));
  if (team_size <= 1) return queue.drain();
  const auto drain = [](void* q) { static_cast<Queue*>(q)->drain(); };
  if (const Team team = openmp_team()) return team(drain, &queue, team_size, 0);
  std::vector<std::thread> others;
  others.reserve(team_size);
  try {
    for (unsigned t = 1; t < team_size; ++t) others.emplace_back(drain, &queue);
  } catch (const std::system_error&) {  // no more threads to be had: those that there are do all the work
  }
  queue.drain();
  for (std::thread& other : others) other.join();
}

}  // namespace thinned
