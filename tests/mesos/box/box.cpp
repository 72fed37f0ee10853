// A real Mesos master, agent and container launcher, by calling into libmesos.
//
//   box master     a master; where BOX_ZK is set (zk://host:port/path), one that stands for election there
//   box agent      an agent of the master at $BOX_MASTER (ip:port)
//   box launch     what an agent runs, under the name mesos-containerizer, to start a container
//
// Settings are those of Mesos itself, from the environment: MESOS_<FLAG>, LIBPROCESS_IP, LIBPROCESS_PORT. State goes
// to $BOX_WORK_DIR. A master or an agent ends when its standard input does, so none outlives whoever started it.
//
// libmesos exports what its test cluster `local::launch` needs: a master, and agents beside it in one process. A
// master alone is that with no agents. An agent alone is that with one, whose detector is told of another master.
// Types below are declared only as far as they are touched; their sizes are ample guesses, and the offsets belong to
// the one build whose checksum install.py insists on.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include <sys/mman.h>
#include <unistd.h>

// As in stout: a state, then room for the value.
template <typename T>
struct Option {
  enum { SOME, NONE } state = SOME;
  union {
    T value;
  };
  Option() : state(NONE) {}
  explicit Option(const T& some) : value(some) {}
  ~Option() {}
};
using Text = Option<std::string>;

namespace process {
bool initialize(const Option<std::string>& delegate, const Option<std::string>& readwrite, const Option<std::string>& readonly);

struct UPID {
  UPID(const std::string& name_at_address);
  char opaque[1 << 10];
};
}  // namespace process

namespace mesos {
namespace allocator {
class Allocator;
}
namespace internal {
namespace local {
struct Flags {
  Flags();
  ~Flags();
  void* vtable;
  std::string work_dir;
  int num_slaves;
  char opaque[1 << 16];
};
// What launch returns is kept in memory that it provides itself.
struct Master {
  char opaque[1 << 12];
  ~Master() {}
};
Master launch(const Flags&, mesos::allocator::Allocator*);
}  // namespace local
namespace slave {
struct MesosContainerizerLaunch {
  struct Flags {
    Flags();
    ~Flags();
    char opaque[1 << 14];
  };
};
}  // namespace slave
}  // namespace internal
}  // namespace mesos

extern "C" {
// mesos::master::detector::StandaloneMasterDetector::appoint, by MasterInfo and by UPID.
void _ZN5mesos6master8detector24StandaloneMasterDetector7appointERK6OptionINS_10MasterInfoEE(void* detector, const void* info);
void _ZN5mesos6master8detector24StandaloneMasterDetector7appointERKN7process4UPIDE(void* detector, const void* upid);
// mesos::master::contender::StandaloneMasterContender::initialize
void _ZN5mesos6master9contender25StandaloneMasterContender10initializeERKNS_10MasterInfoE(void* contender, const void* info);
// mesos::master::contender::MasterContender::create(zk, module, session timeout); the result's place comes first.
void _ZN5mesos6master9contender15MasterContender6createERK6OptionINSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEESC_RKS3_I8DurationE(
    void* result, const Text* zk, const Text* module, const Option<int64_t>* nanoseconds);
// mesos::master::contender::ZooKeeperMasterContender::initialize, and contend; the place of the latter's result comes first.
void _ZN5mesos6master9contender24ZooKeeperMasterContender10initializeERKNS_10MasterInfoE(void* contender, const void* info);
void _ZN5mesos6master9contender24ZooKeeperMasterContender7contendEv(void* result, void* contender);
// flags::FlagsBase::load(prefix, argc, argv, unknowns, duplicates); the result's place comes first.
void _ZN5flags9FlagsBase4loadERK6OptionINSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEEiPKPKcbb(
    void* result, void* flags, const Text* prefix, int argc, const char* const* argv, bool unknowns, bool duplicates);
// mesos::internal::slave::MesosContainerizerLaunch::execute
int _ZN5mesos8internal5slave24MesosContainerizerLaunch7executeEv(void* command);
}

namespace {

std::string setting(const char* name, const char* fallback) {
  const char* value = getenv(name);
  return value ? value : fallback;
}

// Stands in for the detector's `appoint`: whatever master the agent is told of, it gets ours.
void appoint_ours(void* detector, const void*) {
  static const process::UPID ours("master@" + setting("BOX_MASTER", "127.0.0.1:5050"));
  _ZN5mesos6master8detector24StandaloneMasterDetector7appointERKN7process4UPIDE(detector, &ours);
}

// Stands in for the `initialize` of the contender that has no rivals: the master is told at once that it leads, as it
// would be, and beside that Mesos' own contender writes it into ZooKeeper, for those who look for a master there.
void stand_for_election(void* contender, const void* info) {
  // All that the replaced function does.
  static_cast<char*>(contender)[8] = 1;
  const Text zk(setting("BOX_ZK", "")), no_module;
  const Option<int64_t> session_timeout(int64_t(4) * 1000 * 1000 * 1000);
  static char created[4096];
  _ZN5mesos6master9contender15MasterContender6createERK6OptionINSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEESC_RKS3_I8DurationE(
      created, &zk, &no_module, &session_timeout);
  // Its first word is 0 where it holds a contender, which follows.
  if (*reinterpret_cast<int*>(created) != 0) {
    fprintf(stderr, "box: BOX_ZK is no place in ZooKeeper\n");
    _exit(1);
  }
  void* rival = *reinterpret_cast<void**>(created + 8);
  static char elected[4096];
  _ZN5mesos6master9contender24ZooKeeperMasterContender10initializeERKNS_10MasterInfoE(rival, info);
  _ZN5mesos6master9contender24ZooKeeperMasterContender7contendEv(elected, rival);
}

// From now on, calls of one function go to another: its first bytes become a jump (x86-64).
void divert(void* function, void* target) {
  const uintptr_t page_mask = ~uintptr_t(4095);
  void* page = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(function) & page_mask);
  // Two pages, for the bytes may lie across the border.
  if (mprotect(page, 2 * 4096, PROT_READ | PROT_WRITE | PROT_EXEC) != 0) {
    perror("box: cannot change the library's code");
    exit(1);
  }
  unsigned char code[] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0,  // mov rax, target
                          0xff, 0xe0};                         // jmp rax
  memcpy(code + 2, &target, sizeof target);
  memcpy(function, code, sizeof code);
}

int launch_container(const char* program) {
  using Launch = mesos::internal::slave::MesosContainerizerLaunch;
  // Of the command itself only the flags are read, and they lie here in it.
  const size_t flags_offset = 224;
  char* command = static_cast<char*>(calloc(1, 1 << 16));
  char* flags = reinterpret_cast<char*>(new (command + flags_offset) Launch::Flags());
  // FlagsBase is a virtual base: its offset stands three words before the table of functions.
  void* base = flags + (*reinterpret_cast<intptr_t**>(flags))[-3];
  const Text prefix(std::string("MESOS_CONTAINERIZER_"));
  const char* argv[] = {program};
  char result[4096];
  _ZN5flags9FlagsBase4loadERK6OptionINSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEEiPKPKcbb(
      result, base, &prefix, 1, argv, false, false);
  return _ZN5mesos8internal5slave24MesosContainerizerLaunch7executeEv(command);
}

void wait_for_end_of_input() {
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
}

int serve(bool is_agent) {
  process::initialize(Text(std::string(is_agent ? "slave(1)" : "master")), Text(std::string("mesos-readwrite")),
                      Text(std::string("mesos-readonly")));
  auto* flags = new mesos::internal::local::Flags();
  flags->work_dir = setting("BOX_WORK_DIR", "work");
  flags->num_slaves = is_agent ? 1 : 0;
  if (is_agent) {
    divert(reinterpret_cast<void*>(&_ZN5mesos6master8detector24StandaloneMasterDetector7appointERK6OptionINS_10MasterInfoEE),
           reinterpret_cast<void*>(&appoint_ours));
  } else if (getenv("BOX_ZK")) {
    divert(reinterpret_cast<void*>(&_ZN5mesos6master9contender25StandaloneMasterContender10initializeERKNS_10MasterInfoE),
           reinterpret_cast<void*>(&stand_for_election));
  }
  mesos::internal::local::launch(*flags, nullptr);
  wait_for_end_of_input();
  // Without destructors: the library's threads still run.
  _exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "launch") return launch_container(argv[0]);
  if (mode == "master" || mode == "agent") return serve(mode == "agent");
  fprintf(stderr, "usage: box master|agent\n");
  return 2;
}
