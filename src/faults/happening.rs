//! All that can happen in a simulated world.

use std::sync::Arc;

use super::cluster::Size;
use crate::backend::mesos::session::{CallEnd, OutCall};
use crate::engine::AttemptId;
use crate::proto::mesos::v1::scheduler::{Call, Event};
use crate::proto::mesos::v1::{TaskInfo, TaskState, TaskStatus};

/// Which of a daemon's lives something belongs to: what belongs to an earlier one is over.
pub(super) type Life = u32;

/// Something that happens, with whatever it needs to be ignored where it is of the past.
#[derive(Debug)]
pub(super) enum Happening {
    /// Something goes wrong.
    Fault,
    /// A fault that lasts ends.
    Heal(Ailment),
    /// The daemon starts.
    Start,
    /// The driver makes a batch; planned under this number.
    Drive(Life, u64),
    /// The driver tries again to commit.
    CommitAgain(Life),
    /// The backend's shell does what is due; planned under this number.
    Shell(Life, u64),
    /// The configuration is brought back to what it was at first.
    Reload,
    /// It is looked at what the scheduler should know.
    Look,
    /// Somebody does something.
    Client(usize),
    /// An answer of the daemon has reached whoever asked.
    Answered(super::clients::Answered),
    /// An attempt of the local backend has ended by itself.
    LocalEnds(Life, AttemptId),
    /// An attempt of the local backend dies because it was told so.
    LocalDies(Life, AttemptId),
    /// The scheduler asks a master for a subscription.
    Subscribing {
        life: Life,
        generation: u64,
        master: Arc<str>,
        call: Box<Call>,
    },
    /// The master asked refuses it, or can't be reached.
    Refused {
        life: Life,
        generation: u64,
        code: u16,
        leader: Option<Arc<str>>,
    },
    /// A call has reached the master.
    CallArrives {
        life: Life,
        call: OutCall,
        is_answered: bool,
    },
    /// What agents have is asked for; again and again while the subscription lasts.
    AgentsAsked { life: Life, generation: u64 },
    /// The master has answered a subscription.
    Opened {
        life: Life,
        generation: u64,
        stream_id: String,
    },
    /// The scheduler knows what became of a call.
    CallEnds {
        life: Life,
        id: u64,
        generation: u64,
        end: CallEnd,
    },
    /// The next call may go out.
    NextCall(Life),
    /// An event has reached the scheduler by this stream.
    Heard { stream: u64, event: Box<Event> },
    /// The scheduler notices that a stream is over.
    StreamClosed { life: Life, generation: u64 },
    /// The master notices that nobody listens to a stream any more.
    StreamLeft { stream: u64 },
    /// A heartbeat is due.
    Heartbeat { stream: u64 },
    /// The master shares out what is free; in this reign.
    Allocate(u64),
    /// The master launches what it has accepted; in this reign.
    Accepted { reign: u64, number: u64 },
    /// A master leads.
    Elected,
    /// An agent has been silent for too long; in this reign.
    GivesUp { reign: u64, agent: String },
    /// The master's word has reached a machine.
    Ordered {
        machine: usize,
        link: u64,
        order: Order,
    },
    /// An agent's word has reached the master of this reign.
    Reported {
        reign: u64,
        agent: String,
        report: Report,
    },
    /// An agent tries to register.
    Registers { machine: usize, boot: u32 },
    /// A machine is back.
    Boots(usize),
    /// An executor is up.
    ExecutorUp {
        machine: usize,
        boot: u32,
        executor: String,
    },
    /// An executor has had nothing to do for long.
    ExecutorIdle {
        machine: usize,
        boot: u32,
        executor: String,
        n_tasks: u64,
    },
    /// A process has ended by itself, or dies because it was told so.
    ProcessEnds {
        machine: usize,
        boot: u32,
        task: String,
        is_killed: bool,
    },
    /// An agent sends a status again that nobody acknowledged.
    UpdateAgain {
        machine: usize,
        boot: u32,
        task: String,
        uuid: u64,
        wait: u64,
    },
}

/// What the master wants of an agent.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// To run a task.
    Run {
        framework: String,
        task: Box<TaskInfo>,
        starts_executor: bool,
    },
    /// To end one.
    Kill { task: String, grace: Option<u64> },
    /// A status was taken in.
    Acknowledged { task: String, uuid: u64 },
    /// To end everything of a framework.
    ShutDown { framework: String },
    /// It is registered; what it doesn't know of these was never started.
    Registered { reign: u64, tasks: Vec<String> },
}

/// What an agent tells the master.
#[derive(Clone, Debug)]
pub(super) enum Report {
    /// It wants to be known, with what it has.
    Register(Box<Inventory>),
    /// A status.
    Status {
        framework: String,
        status: Box<TaskStatus>,
    },
    /// An executor is no more.
    ExecutorGone { executor: String },
}

/// What an agent has when it registers.
#[derive(Clone, Debug)]
pub(super) struct Inventory {
    pub(super) machine: usize,
    /// Counts connections: what an earlier one carried is lost.
    pub(super) link: u64,
    pub(super) size: Size,
    pub(super) executors: Vec<(String, Size)>,
    /// Framework, description, and the state that the agent would tell now.
    pub(super) tasks: Vec<(String, TaskInfo, TaskState)>,
}

/// A fault that lasts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ailment {
    /// A machine that nobody can reach.
    Partition(usize),
    /// A scheduler that reaches no master.
    Cut,
    /// A full disk.
    DiskFull,
}
