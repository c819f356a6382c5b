// Threads that live as long as one call: nothing is left behind that a fork could break.
#ifndef NOISE_FLOW_TEAM_H
#define NOISE_FLOW_TEAM_H

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

namespace {

class Team {
 public:
  // Calls work(thread, team) on `wanted` threads, this one among them; on fewer if there are fewer.
  template <typename Work>
  static void run(int wanted, const Work& work) {
    Team team;
    struct Member {
      Team* team;
      const Work* work;
      int number;
      pthread_t thread;
    };
    Member* members = wanted > 1 ? static_cast<Member*>(calloc(wanted, sizeof(Member))) : nullptr;
    int created = 0;
    if (members) {
      sigset_t all, before;  // signals stay with the threads of the caller
      sigfillset(&all);
      pthread_sigmask(SIG_SETMASK, &all, &before);
      for (; created < wanted - 1; ++created) {
        members[created] = {&team, &work, created + 1, {}};
        auto main = [](void* argument) -> void* {
          Member* self = static_cast<Member*>(argument);
          if (self->team->wait_for_start()) (*self->work)(self->number, *self->team);
          return nullptr;
        };
        if (pthread_create(&members[created].thread, nullptr, main, &members[created])) break;
      }
      pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
    __atomic_store_n(&team.size_, created + 1, __ATOMIC_RELEASE);
    work(0, team);
    for (int i = 0; i < created; ++i) pthread_join(members[i].thread, nullptr);
    free(members);
  }

  int size() const { return size_; }

  void barrier() {
    if (size_ == 1) return;
    const int round = __atomic_load_n(&round_, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&arrived_, 1, __ATOMIC_ACQ_REL) == size_) {
      __atomic_store_n(&arrived_, 0, __ATOMIC_RELAXED);
      __atomic_store_n(&round_, round + 1, __ATOMIC_RELEASE);
      return;
    }
    for (int spins = 0; __atomic_load_n(&round_, __ATOMIC_ACQUIRE) == round; ++spins) rest(spins);
  }

 private:
  int size_ = 0, arrived_ = 0, round_ = 0;

  bool wait_for_start() {
    for (int spins = 0; !__atomic_load_n(&size_, __ATOMIC_ACQUIRE); ++spins) rest(spins);
    return true;
  }

  static void rest(int spins) {
    if (spins < 2000) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    } else if (spins < 4000) {
      sched_yield();
    } else {
      const timespec a_moment = {0, 20000};
      nanosleep(&a_moment, nullptr);
    }
  }
};

}  // namespace

#endif
