//! The users that are present or typing in a room, from events and lists that may be lost, doubled or late (rules 15
//! and 17 of PROTOCOL.md).

use std::collections::BTreeMap;
use std::time::Duration;

use super::retry::Clock;
use crate::event::{Event, Shown};
use crate::wire::{Happened, Member, Members, Presence, Signal};

/// The events of this time before the `at` of a list, in milliseconds, count more than the list: the index from which it
/// is read follows the table within a moment.
const INDEX_LAG_MS: i64 = 5_000;

/// The wait before a user who is missing in a list is shown to have left, as for a `leave`.
const HOLD: Duration = Duration::from_secs(10);

/// The time after which a `typing` is forgotten.
const TYPING: Duration = Duration::from_secs(8);

/// The number of users who have left that are remembered, so that an event that comes late does not bring them back.
const MAX_GONE: usize = 1_000;

/// A user, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    /// The time of the last event, in milliseconds since 1970.
    at: i64,
    /// True if the last event was a `leave`.
    left: bool,
    /// True if the user is shown as present.
    here: bool,
    /// The time at which the user is no longer shown.
    hide_at: Option<Duration>,
    name: Option<String>,
    /// The state, as JSON text.
    state: Option<String>,
}

/// The picture of a room.
#[derive(Debug, Default)]
pub(super) struct Present {
    users: BTreeMap<String, User>,
    /// Users who are typing: when to forget it.
    typing: BTreeMap<String, Duration>,
    /// The `at` of the last `typing` or `stopped` of a user.
    typed: BTreeMap<String, i64>,
}

impl Present {
    /// Takes an event in. `now` is the client's clock.
    pub(super) fn event(&mut self, now: Duration, event: &Presence, shown: &mut Vec<Event>) {
        let left = event.event == Happened::Leave;
        if event.event == Happened::Unknown {
            return;
        }
        if let Some(known) = self.users.get(&event.user)
            && (event.at, !left) <= (known.at, !known.left)
        {
            return;
        }
        if left {
            let hold = Duration::from_millis(event.hold_ms.unwrap_or_default());
            self.leaves(&event.user, event.at, now + hold);
        } else {
            let (name, state) = (event.name.clone(), event.state.as_ref());
            let state = state.map(|state| state.get().to_owned());
            self.comes(&event.room, &event.user, event.at, name, state, shown);
        }
        self.forget_gone();
    }

    /// Takes a list in, which begins after the user `after`: who is present, but for the events of the last moment before
    /// it and later ones.
    pub(super) fn list(
        &mut self,
        now: Duration,
        list: &Members,
        after: Option<&str>,
        shown: &mut Vec<Event>,
    ) {
        let truth = list.at.unwrap_or_default() - INDEX_LAG_MS;
        let last = list.members.last().map(|member| member.user.clone());
        let covers = |user: &str| {
            after.is_none_or(|after| user > after)
                && (!list.more || last.as_deref().is_some_and(|last| user <= last))
        };
        let present = |member: &&Member| member.presence;
        for member in list.members.iter().filter(present) {
            let known = self.users.get(&member.user);
            if known.is_some_and(|known| known.at >= truth) {
                continue;
            }
            let (name, state) = (member.name.clone(), member.state.as_ref());
            let state = state.map(|state| state.get().to_owned());
            self.comes(&list.room, &member.user, truth, name, state, shown);
        }
        let missing: Vec<String> = self
            .users
            .iter()
            .filter(|(user, known)| covers(user) && known.at < truth && !known.left)
            .filter(|(user, _)| {
                let mut present = list.members.iter().filter(present);
                present.all(|member| member.user != **user)
            })
            .map(|(user, _)| user.clone())
            .collect();
        for user in missing {
            self.leaves(&user, truth, now + HOLD);
        }
        self.users
            .retain(|_, known| known.here || known.hide_at.is_some() || known.at >= truth);
    }

    fn comes(
        &mut self,
        room: &str,
        user: &str,
        at: i64,
        name: Option<String>,
        state: Option<String>,
        shown: &mut Vec<Event>,
    ) {
        let known = self.users.get(user);
        let was_here = known.is_some_and(|known| known.here);
        let is_new = known.is_none_or(|known| known.state != state || known.name != name);
        let now = User {
            at,
            left: false,
            here: true,
            hide_at: None,
            name,
            state,
        };
        if !was_here || is_new {
            let what = if was_here { Shown::Update } else { Shown::Join };
            shown.push(now.event(room, user, what));
        }
        self.users.insert(user.to_owned(), now);
    }

    fn leaves(&mut self, user: &str, at: i64, hide_at: Duration) {
        let known = self.users.entry(user.to_owned()).or_insert(User {
            at,
            left: true,
            here: false,
            hide_at: None,
            name: None,
            state: None,
        });
        known.at = at;
        known.left = true;
        known.hide_at = known.here.then_some(hide_at);
    }

    /// Hides the users whose time has come.
    pub(super) fn due(&mut self, clock: &mut Clock, room: &str, shown: &mut Vec<Event>) {
        for (user, known) in &mut self.users {
            if known.hide_at.is_some_and(|at| clock.due(at)) {
                known.hide_at = None;
                known.here = false;
                shown.push(known.event(room, user, Shown::Leave));
            }
        }
        let typing = self.typing.len();
        self.typing.retain(|_, until| !clock.due(*until));
        if self.typing.len() < typing {
            shown.push(self.typists(room));
        }
    }

    /// Takes a signal in.
    pub(super) fn signal(&mut self, now: Duration, signal: Signal, shown: &mut Vec<Event>) {
        let (types, user) = (signal.kind == "typing", signal.from.clone());
        if !types && signal.kind != "stopped" {
            shown.push(Event::Signal(signal));
            return;
        }
        let last = self.typed.get(&user).copied().unwrap_or(i64::MIN);
        if signal.at < last {
            return;
        }
        if self.typed.len() >= MAX_GONE {
            self.typed.clear();
        }
        self.typed.insert(user.clone(), signal.at);
        let changed = if types {
            self.typing.insert(user, now + TYPING).is_none()
        } else {
            self.typing.remove(&user).is_some()
        };
        if changed {
            shown.push(self.typists(&signal.room));
        }
    }

    /// A user who has said something does not type any more.
    pub(super) fn spoke(&mut self, room: &str, user: &str, shown: &mut Vec<Event>) {
        if self.typing.remove(user).is_some() {
            shown.push(self.typists(room));
        }
    }

    /// Forgets everybody: the room has too many connections to know.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn typists(&self, room: &str) -> Event {
        Event::Typing {
            room: room.to_owned(),
            users: self.typing.keys().cloned().collect(),
        }
    }

    /// Forgets who left first, where there are too many.
    fn forget_gone(&mut self) {
        let gone = |known: &User| !known.here && known.hide_at.is_none();
        while self.users.values().filter(|known| gone(known)).count() > MAX_GONE {
            let oldest = self
                .users
                .iter()
                .filter(|(_, known)| gone(known))
                .min_by_key(|(_, known)| known.at)
                .map(|(user, _)| user.clone());
            if let Some(oldest) = oldest {
                self.users.remove(&oldest);
            }
        }
    }
}

impl User {
    fn event(&self, room: &str, user: &str, event: Shown) -> Event {
        let state = self.state.clone().filter(|_| event != Shown::Leave);
        Event::Presence {
            room: room.to_owned(),
            event,
            user: Some(user.to_owned()),
            name: self.name.clone(),
            state: state.and_then(|state| serde_json::value::RawValue::from_string(state).ok()),
            count: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use rand::rngs::StdRng;
    use rand::seq::SliceRandom as _;
    use rand::{RngExt as _, SeedableRng as _};
    use serde_json::json;

    use super::*;

    /// The users that the picture shows.
    fn here(present: &Present) -> BTreeSet<String> {
        let here = present.users.iter().filter(|(_, known)| known.here);
        here.map(|(user, _)| user.clone()).collect()
    }

    fn event(kind: &str, user: &str, at: i64) -> Presence {
        let hold = (kind == "leave").then_some(10_000);
        serde_json::from_value(json!({
            "room": "r", "event": kind, "user": user, "at": at, "holdMs": hold, "count": 1,
        }))
        .unwrap()
    }

    fn list(at: i64, users: &BTreeSet<String>) -> Members {
        let members: Vec<_> = users
            .iter()
            .map(|user| json!({"user": user, "connections": 1, "presence": true, "since": 1}))
            .collect();
        serde_json::from_value(json!({
            "room": "r", "count": members.len(), "members": members, "more": false, "mode": "live", "at": at,
        }))
        .unwrap()
    }

    fn pass(present: &mut Present, now: Duration, shown: &mut Vec<Event>) {
        let mut clock = Clock { now, next: None };
        present.due(&mut clock, "r", shown);
    }

    /// Events of a room in any order, doubled and lost: after one list the picture is the room.
    #[test]
    fn after_one_list_the_picture_is_the_table() {
        for seed in 0..500 {
            let mut rng = StdRng::seed_from_u64(seed);
            let (mut table, mut events) = (BTreeSet::new(), Vec::new());
            for step in 0..60 {
                let user = format!("u{}", rng.random_range(0..8));
                let at = step * 1_000;
                let kind = if table.contains(&user) {
                    if rng.random_bool(0.3) {
                        "update"
                    } else {
                        "leave"
                    }
                } else {
                    "join"
                };
                match kind {
                    "join" => _ = table.insert(user.clone()),
                    "leave" => _ = table.remove(&user),
                    _ => {}
                }
                for _ in 0..rng.random_range(0..3) {
                    events.push(event(kind, &user, at));
                }
            }
            events.shuffle(&mut rng);
            let mut present = Present::default();
            let mut shown = Vec::new();
            for (n, event) in events.iter().enumerate() {
                present.event(Duration::from_secs(n as u64), event, &mut shown);
            }
            // The list is 10 s younger than the last event.
            let now = Duration::from_secs(1_000);
            present.list(now, &list(70_000, &table), None, &mut shown);
            pass(&mut present, now + HOLD, &mut shown);
            assert_eq!(here(&present), table, "seed {seed}");
            // The shown events add up to it too.
            let mut seen = BTreeSet::new();
            for event in &shown {
                if let Event::Presence { event, user, .. } = event {
                    let user = user.clone().unwrap();
                    match event {
                        Shown::Leave => assert!(seen.remove(&user)),
                        Shown::Join => assert!(seen.insert(user)),
                        _ => assert!(seen.contains(&user)),
                    }
                }
            }
            assert_eq!(seen, table, "seed {seed}");
        }
    }

    /// Without loss any order and any doubling gives the same picture, without a list.
    #[test]
    fn any_order_gives_the_same_picture() {
        for seed in 0..500 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut events = Vec::new();
            let mut truth: BTreeMap<&str, bool> = BTreeMap::new();
            for step in 0..30 {
                let user = ["a", "b", "c"][rng.random_range(0..3)];
                // Of two events with the same time the join counts.
                let at = step / 2;
                let kind = ["join", "update", "leave"][rng.random_range(0..3)];
                events.push((user, kind, at));
                events.push((user, kind, at));
            }
            for user in ["a", "b", "c"] {
                let own = events.iter().filter(|(own, ..)| *own == user);
                let last = own.max_by_key(|(_, kind, at)| (*at, *kind != "leave"));
                truth.insert(user, last.is_some_and(|(_, kind, _)| *kind != "leave"));
            }
            events.shuffle(&mut rng);
            let mut present = Present::default();
            let mut shown = Vec::new();
            for (user, kind, at) in events {
                present.event(Duration::ZERO, &event(kind, user, at), &mut shown);
            }
            pass(&mut present, Duration::from_secs(10), &mut shown);
            let expected = truth.iter().filter(|(_, here)| **here);
            let expected: BTreeSet<_> = expected.map(|(user, _)| (*user).to_owned()).collect();
            assert_eq!(here(&present), expected, "seed {seed}");
        }
    }

    #[test]
    fn a_list_does_not_undo_the_events_of_its_last_moment() {
        let mut present = Present::default();
        let mut shown = Vec::new();
        let now = Duration::from_secs(1);
        present.event(now, &event("join", "new", 99_000), &mut shown);
        present.event(now, &event("join", "old", 1_000), &mut shown);
        present.event(now, &event("join", "gone", 1_000), &mut shown);
        present.event(now, &event("leave", "gone", 99_000), &mut shown);
        let users = ["gone", "old"].map(str::to_owned).into();
        present.list(now, &list(100_000, &users), None, &mut shown);
        pass(&mut present, now + HOLD, &mut shown);
        assert_eq!(here(&present), ["new", "old"].map(str::to_owned).into());
    }

    #[test]
    fn only_so_many_who_left_are_remembered() {
        let mut present = Present::default();
        let mut shown = Vec::new();
        for n in 0..3_000 {
            let user = format!("u{n}");
            present.event(Duration::ZERO, &event("leave", &user, n), &mut shown);
        }
        assert_eq!(present.users.len(), MAX_GONE);
        assert!(shown.is_empty());
    }
}
