//! Runs the lease of a busy room alone through every interleaving of two publishers and their pumps, which die at any
//! request.
//!
//! They are driven by the code that delivers, [`Leader`]. Each request is one step, at any time, in any order. Time passes
//! as the worst case wants it: [`Moment`] takes every value. A post ends at once or much later; a lease ends while its
//! holder lives; a process dies before or after a request; the pump cannot be invoked. Somebody joins meanwhile.

use std::collections::BTreeSet;

use chat::paced::lease::{End, HELD_FOR_MS, Leader, Lease, Moment, Replaced, Step, Terms, Took};

use crate::support::model;

/// The time of the test, in milliseconds since 1970. It stands still: leases end by a step of their own.
const NOW_MS: i64 = 1_793_246_400_000;
const EPOCH: &str = "E";

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "most of them lead")]
enum Doing {
    /// A publisher before its append.
    Appending,
    /// Follows its steps.
    Leading(Leader),
    /// Posts its own message as in a small room.
    Alone,
    Ended,
    Dead,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Process {
    doing: Doing,
    /// The message of a publisher.
    own: u64,
    /// The holder that hands its lease to this pump.
    handed_by: Option<usize>,
    /// True if the joiner was in the list of members that was read last.
    sees_joiner: bool,
    /// The first and the last message that were read.
    read: (u64, u64),
    /// Posts on their way: messages, and whether they go to the joiner too.
    posts: Vec<(u64, u64, bool)>,
}

impl Process {
    fn new(doing: Doing, handed_by: Option<usize>) -> Self {
        Self {
            doing,
            own: 0,
            handed_by,
            sees_joiner: false,
            read: (0, 0),
            posts: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Joiner {
    Outside,
    Member,
    /// Has read this head of the log.
    Joined(u64),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    head: u64,
    lease: Option<Lease>,
    processes: Vec<Process>,
    joiner: Joiner,
    /// Messages posted to the member, and to the joiner.
    posted: [BTreeSet<u64>; 2],
    deaths: u8,
    expiries: u8,
    refusals: u8,
    /// Processes at most: two publishers, and pumps.
    most: usize,
    /// A process died, or could not invoke the pump.
    failed: bool,
}

fn nonce(process: usize) -> String {
    format!("P{process}")
}

/// Every moment. That the lease is ageing changes nothing about the rest.
fn moments() -> impl Iterator<Item = Moment> {
    (0..=16).map(|bits| Moment {
        due: bits & 1 > 0,
        slow: bits & 2 > 0,
        idle: bits & 4 > 0,
        late: bits & 8 > 0,
        ageing: bits & 16 > 0,
    })
}

/// The UpdateItem that takes the lease.
fn take(lease: &mut Option<Lease>, terms: &Terms) -> Took {
    if !terms.hold(lease.as_ref()) {
        return Took::Refused(lease.clone());
    }
    let mut next = match (&terms.replaces, lease.take()) {
        (None, Some(lease)) => lease,
        _ => terms.lease(),
    };
    next.owner.clone_from(&terms.me);
    next.until = NOW_MS + HELD_FOR_MS;
    *lease = Some(next.clone());
    Took::Taken(next)
}

/// The UpdateItem on condition that the lease is still held.
fn write(lease: &mut Option<Lease>, me: &str, done: u64, release: bool) -> bool {
    match lease {
        Some(lease) if lease.owner == me => {
            lease.done = done;
            lease.until = if release { 0 } else { NOW_MS + HELD_FOR_MS };
            lease.released = if release { NOW_MS } else { lease.released };
            true
        }
        _ => false,
    }
}

fn post(state: &mut State, (first, last, to_joiner): (u64, u64, bool)) {
    state.posted[0].extend(first..=last);
    if to_joiner {
        state.posted[1].extend(first..=last);
    }
}

/// Carries out one step of a process. Returns the states that may follow: a post may end at once or be on its way.
fn carry_out(state: &State, at: usize, leader: &Leader, step: &Step) -> Vec<State> {
    let mut next = state.clone();
    let mut leader = leader.clone();
    let me = nonce(at);
    let mut also = None;
    match step {
        Step::Take(terms) => {
            let took = take(&mut next.lease, terms);
            leader.took(took);
        }
        Step::Start => {
            let handed_by = next.processes[at].handed_by.map(nonce);
            let lease = next.lease.as_mut();
            let lease = lease.filter(|lease| Some(&lease.owner) == handed_by.as_ref());
            leader.started(
                lease
                    .map(|lease| {
                        lease.owner = me;
                        lease.until = NOW_MS + HELD_FOR_MS;
                        &*lease
                    })
                    .cloned()
                    .as_ref(),
            );
        }
        Step::Read(after) => {
            let found = next.head > *after;
            next.processes[at].read = (after + 1, next.head);
            leader.messages(found.then_some(next.head));
        }
        Step::Members => {
            next.processes[at].sees_joiner = next.joiner != Joiner::Outside;
            leader.members();
        }
        Step::Post => {
            let process = &mut next.processes[at];
            // A publisher that goes on from the message before its own has read nothing.
            if process.read.1 == 0 {
                process.read = (process.own, process.own);
            }
            let (first, last) = std::mem::take(&mut process.read);
            let round = (first, last, process.sees_joiner);
            leader.posting();
            let mut hanging = next.clone();
            hanging.processes[at].posts.push(round);
            hanging.processes[at].doing = Doing::Leading(leader.clone());
            also = Some(hanging);
            post(&mut next, round);
            leader.over_up_to(last);
        }
        Step::Advance(done) => {
            leader.wrote(*done, write(&mut next.lease, &me, *done, false));
        }
        Step::Release(done) => {
            leader.wrote(*done, write(&mut next.lease, &me, *done, true));
        }
        Step::Look(after) => {
            leader.looked(next.head > *after);
        }
        Step::Invoke => {
            if next.processes.len() < next.most {
                let pump = Leader::pump(&nonce(next.processes.len()));
                let pump = Process::new(Doing::Leading(pump), Some(at));
                next.processes.push(pump);
                if state.refusals > 0 {
                    let mut refused = state.clone();
                    refused.refusals -= 1;
                    refused.failed = true;
                    let mut leader = leader.clone();
                    leader.invoked(false);
                    refused.processes[at].doing = Doing::Leading(leader);
                    also = Some(refused);
                }
                leader.invoked(true);
            } else {
                next.failed = true;
                leader.invoked(false);
            }
        }
        Step::Rest => return Vec::new(),
        Step::End(End::Alone) => next.processes[at].doing = Doing::Alone,
        Step::End(_) => next.processes[at].doing = Doing::Ended,
    }
    if !matches!(step, Step::End(_)) {
        next.processes[at].doing = Doing::Leading(leader);
    }
    std::iter::once(next).chain(also).collect()
}

/// Every state that may come next.
fn successors(state: &State) -> Vec<State> {
    let mut all = Vec::new();
    match state.joiner {
        Joiner::Outside => all.push(State {
            joiner: Joiner::Member,
            ..state.clone()
        }),
        Joiner::Member => all.push(State {
            joiner: Joiner::Joined(state.head),
            ..state.clone()
        }),
        Joiner::Joined(_) => {}
    }
    if state.expiries > 0
        && let Some(lease) = &state.lease
        && lease.until > NOW_MS
    {
        let mut next = state.clone();
        next.expiries -= 1;
        next.lease = Some(Lease {
            until: NOW_MS - 1,
            ..lease.clone()
        });
        all.push(next);
    }
    for (at, process) in state.processes.iter().enumerate() {
        for round in 0..process.posts.len() {
            let mut next = state.clone();
            let posts = next.processes[at].posts.remove(round);
            post(&mut next, posts);
            if let Doing::Leading(leader) = &mut next.processes[at].doing {
                leader.over_up_to(posts.1);
            }
            all.push(next);
        }
        let dies = |next: &mut State| {
            let process = &mut next.processes[at];
            process.posts.clear();
            process.doing = Doing::Dead;
            next.deaths -= 1;
            next.failed = true;
        };
        match &process.doing {
            Doing::Appending => {
                let mut next = state.clone();
                next.head += 1;
                let own = next.head;
                next.processes[at].own = own;
                let leader = Leader::publisher(&nonce(at), EPOCH, own, NOW_MS);
                next.processes[at].doing = Doing::Leading(leader);
                all.push(next);
            }
            Doing::Leading(leader) => {
                let mut steps = Vec::new();
                for moment in moments() {
                    let mut leader = leader.clone();
                    let step = leader.step(moment, NOW_MS);
                    if !steps.contains(&(leader.clone(), step.clone())) {
                        steps.push((leader, step));
                    }
                }
                for (leader, step) in steps {
                    // Nobody ends while posts are on their way: they are awaited or dropped.
                    if matches!(step, Step::End(_)) && !process.posts.is_empty() {
                        let mut next = state.clone();
                        next.processes[at].posts.clear();
                        all.extend(carry_out(&next, at, &leader, &step));
                        continue;
                    }
                    let after = carry_out(state, at, &leader, &step);
                    if state.deaths > 0 && step != Step::Rest {
                        for mut next in after.clone() {
                            dies(&mut next);
                            all.push(next);
                        }
                    }
                    all.extend(after);
                }
                if state.deaths > 0 {
                    let mut next = state.clone();
                    dies(&mut next);
                    all.push(next);
                }
            }
            Doing::Alone => {
                let mut next = state.clone();
                let to_joiner = state.joiner != Joiner::Outside;
                post(&mut next, (process.own, process.own, to_joiner));
                next.processes[at].doing = Doing::Ended;
                all.push(next);
                if state.deaths > 0 {
                    let mut next = state.clone();
                    dies(&mut next);
                    all.push(next);
                }
            }
            Doing::Ended | Doing::Dead => {}
        }
    }
    all
}

/// Asserts that every message is posted to all members it is due to: by now, or by the next publisher if a process has
/// died.
fn check_end(state: &State) {
    let mut state = state.clone();
    if state.failed {
        if let Some(lease) = &mut state.lease {
            lease.until = lease.until.min(NOW_MS - 1);
        }
        let at = state.processes.len();
        state.head += 1;
        let mut process = Process::new(
            Doing::Leading(Leader::publisher(&nonce(at), EPOCH, state.head, NOW_MS)),
            None,
        );
        process.own = state.head;
        state.processes.push(process);
        state.refusals = 0;
        let due = Moment {
            due: true,
            ..Moment::default()
        };
        while let Doing::Leading(leader) = state.processes[at].doing.clone() {
            let mut leader = leader;
            let step = leader.step(due, NOW_MS);
            state = carry_out(&state, at, &leader, &step).swap_remove(0);
        }
        if state.processes[at].doing == Doing::Alone {
            let to_joiner = state.joiner != Joiner::Outside;
            let own = state.head;
            post(&mut state, (own, own, to_joiner));
        }
    }
    for seq in 1..=state.head {
        // Its publisher had to post it and died, as in a small room.
        let dead = |process: &Process| process.doing == Doing::Dead && process.own == seq;
        let is_alone = state.lease.as_ref().is_some_and(|lease| lease.since >= seq);
        if is_alone && state.processes.iter().any(dead) {
            continue;
        }
        assert!(state.posted[0].contains(&seq), "{seq} is lost: {state:#?}");
        if let Joiner::Joined(head) = state.joiner
            && seq > head
        {
            assert!(
                state.posted[1].contains(&seq),
                "{seq} is lost to the member that has joined: {state:#?}"
            );
        }
    }
}

/// Asserts that `done` never passes a message that is not posted.
fn check(state: &State) {
    let Some(lease) = &state.lease else { return };
    for seq in lease.since + 1..=lease.done {
        assert!(
            state.posted[0].contains(&seq),
            "{seq} counts as done: {state:#?}"
        );
    }
}

/// Visits every state that can be reached from the first, and returns their number.
fn explore(first: State) -> usize {
    let mut ends = 0;
    let states = model::explore(first, |state| {
        check(state);
        let is_over = |process: &Process| matches!(process.doing, Doing::Ended | Doing::Dead);
        if state.processes.iter().all(is_over) && state.joiner != Joiner::Member {
            ends += 1;
            check_end(state);
        }
        successors(state)
    });
    assert!(ends > 0);
    states
}

/// A room with a message before, whose lease is as given.
fn room(lease: Option<Lease>, (deaths, expiries, refusals): (u8, u8, u8)) -> State {
    State {
        head: 1,
        lease,
        processes: vec![
            Process::new(Doing::Appending, None),
            Process::new(Doing::Appending, None),
        ],
        // Somebody joins where nothing goes wrong.
        joiner: if deaths + expiries + refusals == 0 {
            Joiner::Outside
        } else {
            Joiner::Joined(u64::MAX)
        },
        posted: [BTreeSet::from([1]), BTreeSet::new()],
        deaths,
        expiries,
        refusals,
        most: if deaths + expiries + refusals == 0 {
            4
        } else {
            3
        },
        failed: false,
    }
}

fn lease(since: u64, done: u64) -> Lease {
    Lease {
        owner: "before".to_owned(),
        until: 0,
        epoch: EPOCH.to_owned(),
        since,
        done,
        last: NOW_MS,
        released: NOW_MS,
    }
}

/// The leases that publishers may find.
fn leases() -> [Option<Lease>; 5] {
    [
        None,
        Some(lease(0, 1)),
        // Left behind by a holder that has died, with a message that is not posted again.
        Some(Lease {
            until: NOW_MS - 1,
            released: 0,
            ..lease(0, 0)
        }),
        // Of long ago: others have posted the messages since.
        Some(Lease {
            released: 0,
            ..lease(0, 0)
        }),
        // Of another epoch.
        Some(Lease {
            epoch: "before".to_owned(),
            ..lease(0, 1)
        }),
    ]
}

#[test]
fn no_message_is_lost_while_all_live() {
    for lease in leases() {
        let states = explore(room(lease, (0, 0, 0)));
        assert!(states > 10_000, "{states}");
    }
}

#[test]
fn no_message_is_lost_when_processes_die() {
    for lease in leases().into_iter().take(2) {
        explore(room(lease.clone(), (1, 0, 0)));
        explore(room(lease, (0, 0, 1)));
    }
}

#[test]
fn no_message_is_lost_when_a_lease_ends_under_its_holder() {
    for lease in leases().into_iter().skip(1).take(2) {
        explore(room(lease, (0, 1, 0)));
    }
}

#[test]
fn terms_that_replace_a_row_hold_for_this_row_alone() {
    let terms = |replaces| Terms {
        me: "me".to_owned(),
        epoch: EPOCH.to_owned(),
        own: 2,
        now_ms: NOW_MS,
        replaces: Some(replaces),
    };
    let row = lease(0, 1);
    let same = Replaced::Row(row.owner.clone(), row.until);
    assert!(terms(same).hold(Some(&row)));
    let other = Replaced::Row("other".to_owned(), row.until);
    assert!(!terms(other).hold(Some(&row)));
    assert!(terms(Replaced::Nothing).hold(None));
    assert!(!terms(Replaced::Nothing).hold(Some(&row)));
}
