//! One thing that goes wrong at one numbered place of a run.
//!
//! Everything of a kind is counted from 1 in the order in which the world comes to it, which is the same in each run from
//! the same seed. So "fail the N-th disk operation, for every N until a run gets through without reaching it" is a loop
//! over [`Interference::number`] that ends when [`Passed::reached`] is false.

use std::time::Duration;

/// What is counted, and can be interfered with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Target {
    /// A piece is hashed and written. `Fail`: the disk refuses. `Corrupt`: the hash does not match although every
    /// block came right (memory, disk). `Drop`: the shell loses the blocks (`Aborted`). `Delay`: the outcome comes later.
    Disk,
    /// A block is read for upload. `Fail`: the read fails, the piece is lost.
    Read,
    /// A dial. `Fail`: refused at once. `Drop`: no answer until the dial times out. `Delay`: takes longer.
    Dial,
    /// A connection that has just been made. `Cut`: breaks at once, on both sides. `Delay`: breaks after this time.
    Connection,
    /// A control message that is about to leave. `Cut` and `Drop`: TCP loses no single message, so its loss is the loss
    /// of the connection, with everything still under way on it. `Delay`: it and everything behind it on the connection
    /// come later, as after a retransmission. `Duplicate`: comes twice, as from a peer that repeats itself.
    Message,
    /// A block that is about to leave; actions as for [`Target::Message`]. `Corrupt`: arrives with wrong bytes.
    Block,
    /// An announce. `Fail`: the tracker refuses. `Drop`: no answer ever. `Delay`: the answer comes later. `Duplicate`:
    /// the answer comes twice.
    Announce,
    /// The timeout of a swarm. `Delay`: the shell is late. `Duplicate`: the shell calls once more than asked.
    Timeout,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Disk,
        Self::Read,
        Self::Dial,
        Self::Connection,
        Self::Message,
        Self::Block,
        Self::Announce,
        Self::Timeout,
    ];

    /// The kinds of action that mean something here; durations of delays are free.
    pub fn actions(self) -> &'static [Action] {
        const LATE: Action = Action::Delay(Duration::from_secs(5));
        match self {
            Self::Disk => &[Action::Fail, Action::Corrupt, Action::Drop, LATE],
            Self::Read => &[Action::Fail],
            Self::Dial => &[Action::Fail, Action::Drop, LATE],
            Self::Connection => &[Action::Cut, LATE],
            Self::Message => &[Action::Cut, Action::Drop, LATE, Action::Duplicate],
            Self::Block => &[Action::Cut, Action::Drop, LATE, Action::Duplicate, Action::Corrupt],
            Self::Announce => &[Action::Fail, Action::Drop, LATE, Action::Duplicate],
            Self::Timeout => &[LATE, Action::Duplicate],
        }
    }
}

/// What is done to it. What each action means for each target stands at [`Target`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// It fails, and says so.
    Fail,
    /// It is lost.
    Drop,
    /// The connection that it belongs to breaks.
    Cut,
    /// It comes later by so much.
    Delay(Duration),
    /// It comes twice.
    Duplicate,
    /// It comes wrong.
    Corrupt,
}

/// Do this to the `number`-th of these, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Interference {
    /// Of what.
    pub target: Target,
    /// Which one, counted from 1.
    pub number: u64,
    /// What happens to it.
    pub action: Action,
}

/// How often a run came to a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Passed {
    /// How many there were so far.
    pub count: u64,
    /// Interferences that were carried out.
    pub carried_out: u64,
    /// Whether every interference with this target was reached.
    pub reached: bool,
}

/// Counters and plans of a world.
#[derive(Default)]
pub(crate) struct Interferences {
    plans: Vec<(Interference, bool)>,
    counts: [u64; Target::ALL.len()],
}

impl Interferences {
    pub(crate) fn plan(&mut self, interference: Interference) {
        let known = interference.target.actions().iter();
        let kind = std::mem::discriminant(&interference.action);
        assert!(known.map(std::mem::discriminant).any(|it| it == kind), "{interference:?} means nothing");
        self.plans.push((interference, false));
    }

    /// Counts one more; what is to happen to it.
    pub(crate) fn pass(&mut self, target: Target) -> Option<Action> {
        let count = &mut self.counts[target as usize];
        *count += 1;
        let number = *count;
        let plan = self.plans.iter_mut().find(|(plan, _)| plan.target == target && plan.number == number)?;
        plan.1 = true;
        Some(plan.0.action)
    }

    pub(crate) fn passed(&self, target: Target) -> Passed {
        let plans = self.plans.iter().filter(|(plan, _)| plan.target == target);
        let carried_out = plans.clone().filter(|(_, reached)| *reached).count() as u64;
        let reached = carried_out > 0 && carried_out == plans.count() as u64;
        Passed { count: self.counts[target as usize], carried_out, reached }
    }
}
