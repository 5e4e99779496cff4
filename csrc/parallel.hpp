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
inline std::size_t openmp_thread() {
#if defined(_WIN32)
  return 0;
#else
  static const auto number = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "omp_get_thread_num"));
  return number ? static_cast<std::size_t>(number()) : 0;
#endif
}

// Calls work(piece) once for each piece in [0, pieces), on up to `threads` threads, and returns when all are done. Each
// thread has a run of neighbours of its own, and helps the others when that is done: threads that touch a huge page of fresh
// memory for the first time, at the same time, get in each other's way; and memory of the call before, which had the same
// runs, may still be in the cache of the thread's core.
template <class Work>
void parallel(int64_t pieces, int threads, const Work& work) {
  struct alignas(64) Run {  // pieces [next, end) are still to be done; a cache line each
    std::atomic<int64_t> next;
    int64_t end;
  };
  struct Queue {
    const Work& work;
    std::vector<Run> runs;
    void drain(std::size_t own) {
      for (std::size_t k = 0; k < runs.size(); ++k) {
        Run& run = runs[(own + k) % runs.size()];
        for (int64_t piece; (piece = run.next.fetch_add(1, std::memory_order_relaxed)) < run.end;) work(piece);
      }
    }
  };
  const unsigned team_size = static_cast<unsigned>(std::min<int64_t>(threads, pieces));
  if (team_size <= 1) {
    for (int64_t piece = 0; piece < pieces; ++piece) work(piece);
    return;
  }
  Queue queue{work, std::vector<Run>(team_size)};
  for (unsigned t = 0; t < team_size; ++t) {
    queue.runs[t].next = pieces / team_size * t + std::min<int64_t>(t, pieces % team_size);
    queue.runs[t].end = pieces / team_size * (t + 1) + std::min<int64_t>(t + 1, pieces % team_size);
  }
  const auto drain = [](void* q) { static_cast<Queue*>(q)->drain(openmp_thread()); };
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
