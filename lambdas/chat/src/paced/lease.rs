//! The decisions about a room's lease, without any request.
//!
//! The holder of the lease posts the messages of a busy room. [`Leader`] says which request comes next and is told the
//! result. `tests/it/lease.rs` drives it through every order in which publishers and a pump can meet, and die.
//!
//! Two rules make sure that each message is posted. A publisher that finds the lease taken has appended its message
//! before; the holder reads the end of the log once more **after** it has released the lease, so it sees that message.
//! And `done` moves only to messages whose posts are answered or given up, so the next holder begins early enough.

use std::collections::VecDeque;

use serde::Deserialize;

/// The time for which a lease is held without a sign of its holder, in milliseconds.
pub const HELD_FOR_MS: i64 = 5_000;

/// The holder of a lease that was released this long ago has nothing to do with the messages that came since, in
/// milliseconds: the room was below the limit meanwhile, and their publishers have posted them.
const RELEASED_FOR_MS: i64 = 10_000;

/// The same for a holder that has died: clients have asked for what they missed.
const DEAD_FOR_MS: i64 = 60_000;

/// A holder takes over at most so many messages. Clients that miss older ones read them from the log.
const MOST_BEHIND: u64 = 1_000;

/// The row of the lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct Lease {
    /// The nonce of the holder.
    pub owner: String,
    /// The end of the lease, in milliseconds since 1970; 0 for a lease that was released.
    pub until: i64,
    /// The epoch of the numbers.
    pub epoch: String,
    /// Holders of the lease post the messages after this number. Publishers of others post them themselves.
    pub since: u64,
    /// All messages from `since` to this number are posted.
    pub done: u64,
    /// The time of the last delivery, in milliseconds since 1970.
    pub last: i64,
    /// The time of the last release, in milliseconds since 1970.
    pub released: i64,
}

/// The terms on which a publisher takes the lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Terms {
    /// The nonce of the publisher or pump.
    pub me: String,
    /// The epoch of its message.
    pub epoch: String,
    /// The number of its message, or of the first that nobody has posted.
    pub own: u64,
    /// The time, in milliseconds since 1970.
    pub now_ms: i64,
    /// The row that is to be replaced; none for a lease that goes on.
    pub replaces: Option<Replaced>,
}

/// The row that a new lease replaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Replaced {
    /// There is no row.
    Nothing,
    /// The row of this holder, with this end.
    Row(String, i64),
}

impl Terms {
    /// The lowest `done` from which a holder goes on.
    pub fn floor(&self) -> u64 {
        self.own.saturating_sub(MOST_BEHIND)
    }

    /// A holder that has died goes on counting until this `until`.
    pub fn died_ms(&self) -> i64 {
        self.now_ms - DEAD_FOR_MS
    }

    /// A lease that was released goes on counting until this `released`.
    pub fn released_ms(&self) -> i64 {
        self.now_ms - RELEASED_FOR_MS
    }

    /// The lease that replaces a row: it begins with the message `own`.
    pub fn lease(&self) -> Lease {
        let before = self.own.saturating_sub(1);
        Lease {
            owner: self.me.clone(),
            until: self.now_ms + HELD_FOR_MS,
            epoch: self.epoch.clone(),
            since: before,
            done: before,
            last: 0,
            released: 0,
        }
    }

    /// True if the messages up to `own` are the business of this lease's holders.
    fn concern(&self, lease: &Lease) -> bool {
        lease.epoch == self.epoch
            && lease.done >= self.floor()
            && (lease.done.saturating_add(1) >= self.own
                || lease.until > self.died_ms()
                || lease.released > self.released_ms())
    }

    /// True if the condition of the UpdateItem holds for the row.
    pub fn hold(&self, lease: Option<&Lease>) -> bool {
        match (&self.replaces, lease) {
            (Some(Replaced::Nothing), lease) => lease.is_none(),
            (Some(Replaced::Row(owner, until)), Some(lease)) => {
                (&lease.owner, lease.until) == (owner, *until)
            }
            (None, Some(lease)) => {
                lease.until <= self.now_ms
                    && self.concern(lease)
                    && lease.since < self.own
                    && lease.done < self.own
            }
            (_, None) => false,
        }
    }
}

/// The result of an attempt to take the lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Took {
    /// The lease is held by the caller from now on: the row as it was, or as it was made.
    Taken(Lease),
    /// The terms do not hold for this row, or for none.
    Refused(Option<Lease>),
    /// No answer.
    Unknown,
}

/// The time, as far as it decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// The time between two deliveries is over.
    pub due: bool,
    /// The posts of the last delivery have begun, and some of them are not answered for a while.
    pub slow: bool,
    /// Nothing has been said for a while.
    pub idle: bool,
    /// The invocation ends soon.
    pub late: bool,
    /// The lease must be prolonged.
    pub ageing: bool,
}

/// A request that comes next, or the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// Take the lease, on condition that the terms hold.
    Take(Terms),
    /// Take over the lease that was handed to this pump.
    Start,
    /// Read the messages after this number.
    Read(u64),
    /// Read the members. Comes after the messages are read: a member that has joined since has read a later head.
    Members,
    /// Begin to post the messages that were read.
    Post,
    /// Write `done` and prolong the lease, on condition that it is still held.
    Advance(u64),
    /// Write `done` and release the lease, on condition that it is still held.
    Release(u64),
    /// Read whether there is a message after this number.
    Look(u64),
    /// Invoke the pump, which takes the lease over.
    Invoke,
    /// Wait until posts end or time passes.
    Rest,
    /// End.
    End(End),
}

/// The part of a publisher or pump is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// Its message is not the business of the lease's holders: the publisher must post it as in a small room.
    Alone,
    /// Somebody else posts its message, or has posted it.
    Relied,
    /// It has posted its message, and others.
    Delivered,
    /// It has posted nothing, or was a pump.
    Over,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase {
    Taking { terms: Terms, tries: u8 },
    Starting,
    Leading,
    Members,
    Post,
    Releasing,
    Looking,
    Retaking,
    Invoking,
    Ended(End),
}

/// A publisher or a pump, and its way through the lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Leader {
    me: String,
    epoch: String,
    /// The publisher's own message; none for a pump.
    own: Option<u64>,
    phase: Phase,
    /// The row's `done`.
    done: u64,
    /// Posts of all messages up to this number have begun.
    begun: u64,
    /// The last message that was read.
    read: u64,
    /// The last number of each delivery that has begun, and whether it has ended.
    rounds: VecDeque<(u64, bool)>,
    /// The pump could not be invoked.
    no_pump: bool,
}

impl Leader {
    /// A publisher that has appended the message `own` of `epoch`.
    pub fn publisher(me: &str, epoch: &str, own: u64, now_ms: i64) -> Self {
        let terms = Terms {
            me: me.to_owned(),
            epoch: epoch.to_owned(),
            own,
            now_ms,
            replaces: None,
        };
        Self::new(me, epoch, Some(own), Phase::Taking { terms, tries: 2 })
    }

    /// A pump that was invoked.
    pub fn pump(me: &str) -> Self {
        Self::new(me, "", None, Phase::Starting)
    }

    fn new(me: &str, epoch: &str, own: Option<u64>, phase: Phase) -> Self {
        Self {
            me: me.to_owned(),
            epoch: epoch.to_owned(),
            own,
            phase,
            done: 0,
            begun: 0,
            read: 0,
            rounds: VecDeque::new(),
            no_pump: false,
        }
    }

    /// The number up to which all posts are over.
    fn posted(&self) -> u64 {
        let over = self.rounds.iter().take_while(|(_, over)| *over).last();
        over.map_or(self.done, |(upto, _)| *upto)
    }

    fn is_posting(&self) -> bool {
        self.rounds.iter().any(|(_, over)| !over)
    }

    /// The request that comes next.
    pub fn step(&mut self, moment: Moment, now_ms: i64) -> Step {
        match &self.phase {
            Phase::Taking { terms, .. } => Step::Take(terms.clone()),
            Phase::Starting => Step::Start,
            Phase::Leading => self.lead(moment),
            Phase::Members => Step::Members,
            Phase::Post => Step::Post,
            Phase::Releasing => Step::Release(self.posted()),
            Phase::Looking => Step::Look(self.done),
            Phase::Retaking => Step::Take(Terms {
                me: self.me.clone(),
                epoch: self.epoch.clone(),
                own: self.done + 1,
                now_ms,
                replaces: None,
            }),
            Phase::Invoking => Step::Invoke,
            Phase::Ended(end) => Step::End(*end),
        }
    }

    fn lead(&mut self, moment: Moment) -> Step {
        let is_pump = self.own.is_none();
        if self.is_posting() {
            if moment.ageing || (is_pump && self.posted() > self.done) {
                return Step::Advance(self.posted());
            }
            // A post that hangs holds up nobody else.
            if moment.slow && moment.due && !moment.late {
                return Step::Read(self.begun);
            }
            return Step::Rest;
        }
        if !self.rounds.is_empty() && !is_pump {
            self.phase = Phase::Releasing;
            return Step::Release(self.posted());
        }
        if self.posted() > self.done || moment.ageing {
            return Step::Advance(self.posted());
        }
        if is_pump && self.no_pump || moment.idle {
            self.phase = Phase::Releasing;
            return Step::Release(self.posted());
        }
        if moment.late || !(is_pump || moment.due || self.no_pump) {
            if !self.no_pump {
                self.phase = Phase::Invoking;
                return Step::Invoke;
            }
            self.phase = Phase::Releasing;
            return Step::Release(self.posted());
        }
        if moment.due || !is_pump {
            // The publisher has its own message in hand.
            if self.own == Some(self.begun + 1) {
                return self.found(self.begun + 1);
            }
            return Step::Read(self.begun);
        }
        Step::Rest
    }

    fn found(&mut self, upto: u64) -> Step {
        self.read = upto;
        self.phase = Phase::Members;
        Step::Members
    }

    /// The result of [`Step::Take`].
    pub fn took(&mut self, took: Took) {
        let (terms, tries) = match &self.phase {
            Phase::Taking { terms, tries } => (terms.clone(), *tries),
            _ => {
                // More has come while the lease was held.
                self.phase = match (took, self.own) {
                    (Took::Taken(lease), own) => {
                        self.hold(&lease);
                        match own {
                            Some(_) => Phase::Invoking,
                            None => Phase::Leading,
                        }
                    }
                    _ => Phase::Ended(self.over()),
                };
                return;
            }
        };
        let lease = match took {
            Took::Taken(lease) => Some(lease),
            // An earlier try was carried out, and its answer lost.
            Took::Refused(Some(lease)) if lease.owner == self.me => Some(lease),
            Took::Unknown => {
                self.phase = Phase::Ended(End::Alone);
                return;
            }
            Took::Refused(lease) => {
                self.phase = refused(lease.as_ref(), terms, tries);
                return;
            }
        };
        if let Some(lease) = lease {
            self.hold(&lease);
            self.phase = Phase::Leading;
        }
    }

    fn hold(&mut self, lease: &Lease) {
        self.epoch.clone_from(&lease.epoch);
        self.done = lease.done;
        self.begun = lease.done;
        self.rounds.clear();
    }

    /// The result of [`Step::Start`]: the row as it is now, or none if the lease is not this pump's.
    pub fn started(&mut self, lease: Option<&Lease>) {
        match lease {
            Some(lease) => {
                self.hold(lease);
                self.phase = Phase::Leading;
            }
            None => self.phase = Phase::Ended(End::Over),
        }
    }

    /// The result of [`Step::Read`]: the last message, if there is any.
    pub fn messages(&mut self, upto: Option<u64>) {
        match upto {
            Some(upto) => {
                self.found(upto);
            }
            // Its own message is in the log.
            None if self.own.is_some() && self.rounds.is_empty() => self.failed(),
            None => {}
        }
    }

    /// The members are read.
    pub fn members(&mut self) {
        self.phase = Phase::Post;
    }

    /// The posts have begun.
    pub fn posting(&mut self) {
        self.begun = self.read;
        self.rounds.push_back((self.read, false));
        self.phase = Phase::Leading;
    }

    /// The posts of the delivery that ended with the message `upto` are over.
    pub fn over_up_to(&mut self, upto: u64) {
        if let Some(round) = self.rounds.iter_mut().find(|(last, _)| *last == upto) {
            round.1 = true;
        }
    }

    /// The result of [`Step::Advance`] and [`Step::Release`]: false if somebody else holds the lease.
    pub fn wrote(&mut self, done: u64, still_held: bool) {
        if !still_held {
            self.phase = Phase::Ended(self.over());
            return;
        }
        self.done = done;
        self.rounds.retain(|(last, _)| *last > done);
        if self.phase == Phase::Releasing {
            self.phase = if self.no_pump {
                Phase::Ended(self.over())
            } else {
                Phase::Looking
            };
        }
    }

    /// The result of [`Step::Look`].
    pub fn looked(&mut self, more: bool) {
        self.phase = if more {
            Phase::Retaking
        } else {
            Phase::Ended(self.over())
        };
    }

    /// The result of [`Step::Invoke`].
    pub fn invoked(&mut self, accepted: bool) {
        self.no_pump = !accepted;
        self.phase = if accepted {
            Phase::Ended(self.over())
        } else {
            Phase::Leading
        };
    }

    /// A request of the holder has failed: it releases the lease, and does not look again.
    pub fn failed(&mut self) {
        self.phase = match self.phase {
            Phase::Leading | Phase::Members | Phase::Post => {
                self.no_pump = true;
                Phase::Releasing
            }
            _ => Phase::Ended(self.over()),
        };
    }

    fn over(&self) -> End {
        match self.own {
            None => End::Over,
            Some(own) if self.begun >= own => End::Delivered,
            // After a failure nobody has posted it.
            Some(_) if self.no_pump => End::Alone,
            Some(_) => End::Relied,
        }
    }
}

/// The publisher's way when it cannot take the lease.
fn refused(lease: Option<&Lease>, terms: Terms, tries: u8) -> Phase {
    let again = |replaces| {
        if tries == 0 {
            return Phase::Ended(End::Alone);
        }
        let terms = Terms {
            replaces: Some(replaces),
            ..terms.clone()
        };
        Phase::Taking {
            terms,
            tries: tries - 1,
        }
    };
    let Some(lease) = lease else {
        return again(Replaced::Nothing);
    };
    let is_held = lease.until > terms.now_ms;
    if !terms.concern(lease) {
        if is_held {
            return Phase::Ended(End::Alone);
        }
        return again(Replaced::Row(lease.owner.clone(), lease.until));
    }
    if lease.since >= terms.own {
        return Phase::Ended(End::Alone);
    }
    if lease.done >= terms.own || is_held {
        return Phase::Ended(End::Relied);
    }
    // The row has changed between two tries.
    if tries == 0 {
        return Phase::Ended(End::Alone);
    }
    Phase::Taking {
        terms: Terms {
            replaces: None,
            ..terms
        },
        tries: tries - 1,
    }
}
