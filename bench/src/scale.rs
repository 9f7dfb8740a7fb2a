//! Part `scale`: writes docs/scale.md, a small model of cost and quotas by the size of a room and of a service.
//!
//! The requests and units of an action, and the prices, are those of `tests/cost/contract.json`, which a test measures.
//! The time of a fan-out is that of the section `fan-out`, as docs/performance.md records it. The tests below compare the
//! model with both.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use crate::costs::{Contract, Prices};
use crate::memory::GB_SECOND;
use crate::plot::{self, Line};

/// Requests a second of an account and Region: messages from clients, posts and handshakes.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html>
const REQUESTS: f64 = 10_000.0;

/// The bucket of these requests.
const BURST: f64 = 5_000.0;

/// New WebSocket connections a second.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html>
const NEW_CONNECTIONS: f64 = 500.0;

/// API Gateway ends a connection after this time, in seconds.
const CONNECTION_S: f64 = 7_200.0;

/// Invocations of an account at once. <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const INVOCATIONS: f64 = 1_000.0;

/// Read units a second of one partition of a table or an index.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html>
const PARTITION_READS: f64 = 3_000.0;

/// The time after which a pump invokes the next one, in seconds.
const PUMP_S: f64 = 50.0;

/// The time limit of `publish`, in seconds, without the second before it in which no post starts.
const PUBLISH_S: f64 = 27.0;

/// Dollars for a million minutes of a connection. <https://aws.amazon.com/api-gateway/pricing/>
pub(crate) const CONNECTION_MINUTES: f64 = 0.25;

/// A member's entry of the index `room-index`, in bytes, with a name of some 20 characters.
pub(crate) const MEMBER_BYTES: f64 = 110.0;

/// The most messages of one delivery in a busy room: `MESSAGES` in lambdas/chat/src/paced/lead.rs.
const ROUND_MESSAGES: f64 = 100.0;

/// The most deliveries of a busy room in a second: the shortest time of `READ_EVERY_MS` lies between two of them.
const ROUNDS: f64 = 1000.0 / 50.0;

/// The rates of a busy room in the plot, in messages a second.
const RATES: [f64; 7] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0];

/// The sizes of busy rooms, in members.
const BUSY_ROOMS: [f64; 3] = [200.0, 1_000.0, 5_000.0];

/// A full page of the members of a room, in bytes. A publisher in a busy room reads no second page.
const PAGE_BYTES: f64 = 1_048_576.0;

/// The row of a message in a busy room, and its frame, in bytes.
const SAID_BYTES: f64 = 300.0;

/// Defaults of terraform/variables.tf.
const PACED_FROM: f64 = 200.0;
const PACED_POSTS: f64 = 5_000.0;
const THROTTLE_RATE: f64 = 1_000.0;
const TABLE_READS: f64 = 10_000.0;
const TABLE_WRITES: f64 = 4_000.0;
const ROOM_MESSAGES: f64 = 200.0 / 5.0;

/// The time of a publish with posts of 10 ms each, in seconds: without members, and for each member.
const PUBLISH_BASE_S: f64 = 0.015;
const PUBLISH_MEMBER_S: f64 = 0.000_11;

/// The use of a service: rooms of this size, and messages of a connection in an hour.
const ROOM: f64 = 50.0;
const HOURLY: f64 = 12.0;

/// The usage of one publish in a room.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Publish {
    messages: f64,
    /// Requests that count against the quota of the account: the message from the client, and the posts.
    requests: f64,
    read_units: f64,
    write_units: f64,
    seconds: f64,
}

impl Publish {
    /// In a room of `members`, whose entries of the index have `bytes` each.
    pub(crate) fn to(members: f64, bytes: f64) -> Publish {
        // An eventually consistent read costs half a unit for 4 KB. The members are read twice.
        let reads_of_members = 2.0 * 0.5 * (members * bytes / 4096.0).ceil();
        Publish {
            messages: members + 1.0,
            requests: members,
            // The sender's row, the end of the log, the members.
            read_units: 2.0 + reads_of_members,
            write_units: 1.0,
            seconds: PUBLISH_BASE_S + PUBLISH_MEMBER_S * members,
        }
    }

    /// Dollars for a million, without the duration of the function.
    fn requests_usd(self, prices: &Prices) -> f64 {
        self.messages * prices.message
            + prices.invocation
            + self.read_units * prices.read_unit
            + self.write_units * prices.write_unit
    }

    /// Dollars for a million. The function has 1 GB.
    pub(crate) fn usd(self, prices: &Prices) -> f64 {
        self.requests_usd(prices) + self.seconds * GB_SECOND * 1e6
    }

    /// The time of one message if nothing else happens, in seconds: the posts beyond the bucket wait for the quota.
    fn takes(self) -> f64 {
        self.seconds.max((self.requests - BURST) / REQUESTS)
    }
}

/// The usage of a room in one second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Second {
    /// Messages, as API Gateway meters them.
    messages: f64,
    /// Posts to members, which are among the messages.
    posts: f64,
    invocations: f64,
    read_units: f64,
    write_units: f64,
    gb_seconds: f64,
}

impl Second {
    /// The usage with `rate` messages a second that are delivered at once.
    pub(crate) fn at_once(members: f64, bytes: f64, rate: f64) -> Second {
        let publish = Publish::to(members, bytes);
        Second {
            messages: rate * publish.messages,
            posts: rate * (members - 1.0),
            invocations: rate,
            read_units: rate * publish.read_units,
            write_units: rate * publish.write_units,
            gb_seconds: rate * publish.seconds,
        }
    }

    /// The usage with `rate` messages a second that are delivered together, with `PACED_POSTS` posts a second at most.
    pub(crate) fn paced(members: f64, bytes: f64, rate: f64) -> Second {
        let rounds = rate.min(rounds_of(members));
        // Up to the most deliveries, the publisher delivers, and posts nothing to itself. Above, the pump runs all the time.
        let is_calm = rounds >= rate;
        let posts = rounds * if is_calm { members - 1.0 } else { members };
        let page = 0.5 * (members * bytes / 4096.0).ceil();
        let first_page = |members: f64| 0.5 * (PAGE_BYTES.min(members * bytes) / 4096.0).ceil();
        // In a room that was busy a moment ago, a publish reads a few members. Each process reads a page once a second.
        let whole = if is_calm {
            rate
        } else {
            (rate * PUBLISH_BASE_S).max(1.0)
        };
        let few = members.min(PACED_FROM);
        let first_pages = whole * first_page(members) + (rate - whole) * first_page(few);
        // A delivery reads the log and the members, and writes the lease. A publisher reads the end of the log once more
        // instead.
        let log = (rate / rounds * SAID_BYTES / 4096.0).ceil();
        let posting = rounds * PUBLISH_MEMBER_S * members;
        Second {
            messages: rate * 2.0 + posts,
            posts,
            invocations: rate + if is_calm { 0.0 } else { 1.0 / PUMP_S },
            // The sender's row, the end of the log and the first page of members.
            read_units: rate * 2.0 + first_pages + rounds * (log + page),
            // The message and an attempt to take the lease.
            write_units: rate * 2.0 + rounds,
            gb_seconds: rate * PUBLISH_BASE_S + if is_calm { posting } else { 1.0 },
        }
    }

    /// The same usage with counted messages and invocations.
    pub(crate) fn counted(self, messages: f64, invocations: f64) -> Second {
        Second {
            messages,
            invocations,
            ..self
        }
    }

    /// The dollars for an hour, without the minutes of the connections. The functions have 1 GB.
    pub(crate) fn usd_hour(self, prices: &Prices) -> f64 {
        let million = self.messages * prices.message
            + self.invocations * prices.invocation
            + self.read_units * prices.read_unit
            + self.write_units * prices.write_unit;
        (million / 1e6 + self.gb_seconds * GB_SECOND) * 3600.0
    }
}

/// Returns the most deliveries a second in a busy room of `members`.
fn rounds_of(members: f64) -> f64 {
    ROUNDS.min(PACED_POSTS / members)
}

/// A quota and its use.
struct Bound {
    name: &'static str,
    /// Use divided by quota.
    share: f64,
    raise: &'static str,
}

fn tightest(bounds: Vec<Bound>) -> Bound {
    let mut bounds = bounds.into_iter();
    let first = bounds.next().unwrap_or(Bound {
        name: "none",
        share: 0.0,
        raise: "",
    });
    bounds.fold(first, |most, bound| {
        if bound.share > most.share {
            bound
        } else {
            most
        }
    })
}

/// The quota that one message a second to a room of `members` uses most.
fn room_bound(members: f64) -> Bound {
    let publish = Publish::to(members, MEMBER_BYTES);
    tightest(vec![
        Bound {
            name: "requests a second",
            share: publish.requests / REQUESTS,
            raise: "the account's requests a second",
        },
        Bound {
            name: "`limits.per_room`",
            share: 1.0 / ROOM_MESSAGES,
            raise: "the variable, up to 200 in a second",
        },
        Bound {
            name: "reads of the index's partition",
            share: (publish.read_units - 2.0) / PARTITION_READS,
            raise: "nothing: one room is one partition",
        },
    ])
}

/// The load of a service with that many connections, all of them open.
struct Load {
    messages_s: f64,
    requests_s: f64,
    usd_month: f64,
    bounds: Vec<Bound>,
}

fn load(connections: f64, contract: &Contract) -> Result<Load> {
    let prices = &contract.prices;
    let publish = Publish::to(ROOM, MEMBER_BYTES);
    let messages_s = connections * HOURLY / 3600.0;
    let handshakes_s = connections / CONNECTION_S;
    let requests_s = messages_s * publish.requests + handshakes_s;
    let renewed = contract.usd("connect")?
        + contract.usd("join, a room with a log")?
        + contract.usd("disconnect")?;
    let usd_s = (messages_s * publish.usd(prices) + handshakes_s * renewed) / 1e6;
    let usd_minute = connections * CONNECTION_MINUTES / 1e6;
    // A handshake, a join and an end take some 20 ms each.
    let invocations = messages_s * publish.seconds + handshakes_s * 0.06;
    let bounds = vec![
        Bound {
            name: "requests a second",
            share: requests_s / REQUESTS,
            raise: "the account's requests a second",
        },
        Bound {
            name: "`throttle_rate`",
            share: messages_s / THROTTLE_RATE,
            raise: "`throttle_rate`",
        },
        Bound {
            name: "invocations at once",
            share: invocations / INVOCATIONS,
            raise: "the account's concurrent executions",
        },
        Bound {
            name: "`table_units_per_second`, reads",
            share: messages_s * publish.read_units / TABLE_READS,
            raise: "`table_units_per_second`",
        },
        Bound {
            name: "`table_units_per_second`, writes",
            share: messages_s * publish.write_units / TABLE_WRITES,
            raise: "`table_units_per_second`",
        },
    ];
    Ok(Load {
        messages_s,
        requests_s,
        usd_month: usd_s * 30.0 * 86_400.0 + usd_minute * 30.0 * 1_440.0,
        bounds,
    })
}

/// An attack that runs for an hour at its cap.
struct Attack {
    name: &'static str,
    a_second: f64,
    cap: &'static str,
    /// Dollars for a million.
    usd: f64,
}

fn attacks(contract: &Contract) -> Result<Vec<Attack>> {
    let usd = |action: &str| contract.usd(action);
    let biggest = Publish::to(1_000.0, MEMBER_BYTES);
    Ok(vec![
        Attack {
            name: "handshakes that are refused",
            a_second: NEW_CONNECTIONS,
            cap: "new connections a second",
            usd: usd("connect, refused")?,
        },
        Attack {
            name: "handshakes that are accepted, closed at once",
            a_second: NEW_CONNECTIONS,
            cap: "new connections a second",
            usd: usd("connect")? + usd("disconnect")?,
        },
        Attack {
            name: "connections that stay, 1.8 million after an hour",
            a_second: NEW_CONNECTIONS,
            cap: "new connections a second",
            // Half an hour each on average.
            usd: usd("connect")? + 30.0 * CONNECTION_MINUTES,
        },
        Attack {
            name: "`ping`",
            a_second: THROTTLE_RATE,
            cap: "`throttle_rate`",
            usd: usd("ping")?,
        },
        Attack {
            name: "unknown actions",
            a_second: THROTTLE_RATE * 0.1,
            cap: "share of `$default`",
            usd: usd("a frame of no action")?,
        },
        Attack {
            name: "`members` of a room of 50",
            a_second: THROTTLE_RATE * 0.1,
            cap: "share of `members`",
            usd: usd("members with states and probe, room of 50")?,
        },
        Attack {
            name: "`history`, 100 messages of 500 bytes",
            a_second: (TABLE_READS / 19.0).min(THROTTLE_RATE * 0.5),
            cap: "share of `history`",
            usd: usd("history, 100 messages of 500 bytes")?,
        },
        Attack {
            name: "`publish` in rooms of 1",
            a_second: THROTTLE_RATE,
            cap: "`throttle_rate`",
            usd: Publish::to(1.0, MEMBER_BYTES).usd(&contract.prices),
        },
        Attack {
            name: "`publish` of 40 KB in rooms of 2",
            a_second: TABLE_WRITES / 40.0,
            cap: "`table_units_per_second`, writes",
            usd: usd("publish, room of 2, 40 KB")?,
        },
        Attack {
            name: "`publish` in rooms of 1,000 of the attacker's connections",
            a_second: REQUESTS / biggest.requests,
            cap: "requests a second of the account",
            usd: biggest.usd(&contract.prices),
        },
    ])
}

/// Dollars of an hour at the caps of the tables: both of each of three tables and of the index.
fn tables_usd_hour(prices: &Prices) -> f64 {
    4.0 * (TABLE_READS * prices.read_unit + TABLE_WRITES * prices.write_unit) * 3600.0 / 1e6
}

/// The page.
///
/// # Errors
/// Fails if an action is missing in the contract.
pub(crate) fn page(contract: &Contract) -> Result<String> {
    let prices = &contract.prices;
    let mut page = String::from(INTRODUCTION);
    page.push_str(
        "| members | USD for 1,000 messages | one message takes | messages a second that the quotas allow | binds first | to raise |\n\
         |---:|---:|---:|---:|---|---|\n",
    );
    for members in [10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0] {
        let publish = Publish::to(members, MEMBER_BYTES);
        let usd = figure(publish.usd(prices) / 1000.0);
        let row = if publish.takes() > PUBLISH_S {
            "not delivered to all | none | time limit of `publish` | nothing: another design"
                .to_owned()
        } else {
            let bound = room_bound(members);
            let rate = figure(1.0 / bound.share);
            format!(
                "{} | {rate} | {} | {}",
                time(publish.takes()),
                bound.name,
                bound.raise
            )
        };
        writeln!(page, "| {} | {usd} | {row} |", whole(members))?;
    }
    write!(
        page,
        "\nThe largest room whose message reaches all before the time limit has about {} members. Beyond {} members a single\n\
         message is larger than the bucket of the quota, so it delays everything else of the account.\n",
        whole(round_to(largest_room(), 1_000.0)),
        whole(BURST),
    )?;
    busy_rooms(&mut page, prices)?;
    page.push_str(SERVICE);
    page.push_str(
        "| connections | messages a second | requests a second | USD a month | all are back after an outage in | binds first | its use | to raise |\n\
         |---:|---:|---:|---:|---:|---|---:|---|\n",
    );
    for connections in [100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0] {
        let Load {
            messages_s,
            requests_s,
            usd_month,
            mut bounds,
        } = load(connections, contract)?;
        bounds.sort_by(|a, b| b.share.total_cmp(&a.share));
        let mut raise: Vec<&str> = bounds
            .iter()
            .filter(|bound| bound.share >= 1.0)
            .map(|bound| bound.raise)
            .collect();
        let back_s = connections / NEW_CONNECTIONS;
        if back_s > 60.0 {
            raise.push("the account's new connections a second");
        }
        raise.dedup();
        let raise = if raise.is_empty() {
            "nothing".to_owned()
        } else {
            raise.join("; ")
        };
        let first = tightest(bounds);
        writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} % | {raise} |",
            whole(connections),
            figure(messages_s),
            figure(requests_s),
            whole(round_to(
                usd_month,
                if usd_month < 1_000.0 { 1.0 } else { 100.0 }
            )),
            time(back_s),
            first.name,
            figure(first.share * 100.0),
        )?;
    }
    write!(
        page,
        "\nWith this use the quota of requests is used up at about {} connections.\n",
        whole(round_to(binds_at("requests a second", contract)?, 1_000.0)),
    )?;
    page.push_str(ANOTHER_DESIGN);
    page.push_str("| load | a second | its cap | USD an hour |\n|---|---:|---|---:|\n");
    let mut worst = 0.0_f64;
    for attack in attacks(contract)? {
        let hour = attack.a_second * attack.usd * 3600.0 / 1e6;
        worst = worst.max(hour);
        writeln!(
            page,
            "| {} | {} | {} | {} |",
            attack.name,
            figure(attack.a_second),
            attack.cap,
            figure(hour),
        )?;
    }
    write!(
        page,
        "\nThe dearest of these costs {} USD an hour, {} a day. They share the quota of requests, so they do not add up.\n\
         Whatever clients do, the three tables and the index together cost {} USD an hour at most, by `table_units_per_second`.\n",
        figure(worst),
        whole(round_to(worst * 24.0, 10.0)),
        figure(tables_usd_hour(prices)),
    )?;
    page.push_str(ATTACK_REMEDIES);
    Ok(page)
}

/// Writes the table of busy rooms.
fn busy_rooms(page: &mut String, prices: &Prices) -> Result<()> {
    page.push_str(BUSY);
    page.push_str(
        "| members | messages a second | at once: posts a second | USD an hour | USD for 1,000 messages | together: posts a second | USD an hour | USD for 1,000 messages | share of the cost at once |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for members in BUSY_ROOMS {
        for rate in [1.0, 10.0, 50.0, 100.0] {
            let at_once = Second::at_once(members, MEMBER_BYTES, rate);
            let together = Second::paced(members, MEMBER_BYTES, rate);
            let hour = [at_once, together].map(|second| second.usd_hour(prices));
            let thousand = hour.map(|usd| usd / rate / 3.6);
            writeln!(
                page,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {:.0} % |",
                whole(members),
                whole(rate),
                whole(at_once.posts),
                figure(hour[0]),
                figure(thousand[0]),
                whole(together.posts),
                figure(hour[1]),
                figure(thousand[1]),
                100.0 * hour[1] / hour[0],
            )?;
        }
    }
    page.push_str("\nThe shortest time between two deliveries is ");
    let rooms = BUSY_ROOMS.map(|members| {
        format!(
            "{} in a room of {}",
            time(1.0 / rounds_of(members)),
            whole(members)
        )
    });
    write!(
        page,
        "{}.\n\
         A delivery takes at most {} messages. So a room of 1,000 keeps up with {} messages a second, and a room of 5,000\n\
         with {}. With more messages its members fall behind, and the alarm `undelivered` rings.\n",
        rooms.join(", "),
        whole(ROUND_MESSAGES),
        whole(ROUND_MESSAGES * PACED_POSTS / 1_000.0),
        whole(ROUND_MESSAGES * PACED_POSTS / 5_000.0),
    )?;
    Ok(())
}

/// The plot of the page: the cost of busy rooms by their rate.
pub(crate) fn plot(contract: &Contract) -> String {
    let line = |name: String, usd: &dyn Fn(f64) -> f64| Line {
        name,
        points: RATES.map(|rate| (rate, usd(rate))).to_vec(),
    };
    let lines = |of: &dyn Fn(Second, f64) -> f64| {
        let mut lines: Vec<Line> = BUSY_ROOMS
            .iter()
            .map(|members| {
                line(format!("room of {members}, together"), &|rate| {
                    of(Second::paced(*members, MEMBER_BYTES, rate), rate)
                })
            })
            .collect();
        lines.push(line("room of 1000, each at once".to_owned(), &|rate| {
            of(Second::at_once(1_000.0, MEMBER_BYTES, rate), rate)
        }));
        lines
    };
    let hour = |second: Second| second.usd_hour(&contract.prices);
    let panels = [
        (
            "USD for 1,000 messages, by messages a second",
            lines(&|second, rate| hour(second) / rate / 3.6),
        ),
        (
            "USD an hour, by messages a second",
            lines(&|second, _| hour(second)),
        ),
    ];
    plot::render(&RATES, &panels, "computed by scripts/bench.sh --scale")
}

/// The members of the largest room whose fan-out ends in time.
fn largest_room() -> f64 {
    (PUBLISH_S - PUBLISH_BASE_S) / PUBLISH_MEMBER_S
}

/// The number of connections with which a quota is used up.
fn binds_at(name: &str, contract: &Contract) -> Result<f64> {
    let one = load(1.0, contract)?;
    let bound = one.bounds.into_iter().find(|bound| bound.name == name);
    Ok(1.0 / bound.context("no such quota")?.share)
}

fn round_to(value: f64, step: f64) -> f64 {
    (value / step).round() * step
}

/// A whole number with commas.
fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with two significant digits at least.
fn figure(value: f64) -> String {
    match value {
        _ if value >= 100.0 => whole(value),
        _ if value >= 10.0 => format!("{value:.0}"),
        _ if value >= 1.0 => format!("{value:.1}"),
        _ if value >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1000.0)
    } else {
        format!("{} s", figure(seconds))
    }
}

const INTRODUCTION: &str = "\
# Scale

This page says what a room and a service of each size cost, which quota of AWS binds first, and what to raise. A small model
computes it: `scripts/bench.sh --scale` writes this page, and a test compares both.

The model takes requests, units and prices from `tests/cost/contract.json`, where they are measured, and the time of a
fan-out from the [bench](performance.md#fan-out-as-on-aws): 15 ms and 0.11 ms for each member, with 10 ms a post. Prices
are those of us-east-1 without free tiers, quotas are AWS's defaults. Messages have up to 1 KB. Nothing was measured on AWS.

## A room

";

const BUSY: &str = "
## A busy room

With the variable [`paced`](deploy.md#what-it-can-cost-at-most) the messages of large rooms are delivered together. Each room
has at most 5,000 posts and 20 deliveries a second. Above this limit further messages cost little, so the cost of each message
falls. Messages have 300 bytes here: a post is metered for each begun 32 KB, which hold a hundred messages. Without `paced`
each message is posted to each member by itself.

![The cost of 1,000 messages and of an hour, by messages a second](scale.svg)

";

const SERVICE: &str = "
## A service

The use: rooms of 50, each connection is open all the time and sends 12 messages an hour. Other uses scale with the requests
a second: the messages that clients send, times the size of their rooms.

";

const ANOTHER_DESIGN: &str = "
## From where on another design is needed

- **A room above 8,000 members**: a message takes a second. Divide the room, or divide the fan-out between several
  invocations.
- **A room above some 200,000 members**: a message does not reach all members within the time limit, whatever the quotas
  are, and its ack says `partial`. Such a room is a broadcast: send one way, through a content delivery network or a
  service for it, and keep this chat for those who speak.
- **A service above some hundred thousand busy connections**: nine tenths of the price are API Gateway's messages, 1.00 USD
  a million, which servers of your own with open sockets do not pay. The log, its tables and the protocol can stay; the
  part that is replaced is `@connections`.

## An attack, priced

Nobody needs an account to send frames, unless `auth` is set. Each line is one kind of load for an hour at its cap, with the
default variables and quotas. The durations of functions other than `publish`, some cents an hour, are left out.

";

const ATTACK_REMEDIES: &str = "
To pay less at most: lower `throttle_rate` (the messages of clients), `table_units_per_second`, and set
`reserved_concurrency`; set `auth`, so that each connection has a user who can be banned and who has
`max_connections_per_user` connections; set `budget` to be told. The alarms `traffic` and `connections` of
[operations.md](operations.md#alarms) ring first. Rate limits (`limits`) bound a user and a connection, not a crowd of them.
";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .unwrap()
            .to_owned()
    }

    fn contract() -> Contract {
        Contract::read(&root()).unwrap()
    }

    fn text(file: &str) -> String {
        fs::read_to_string(root().join(file)).unwrap()
    }

    #[test]
    fn the_page_is_that_of_the_model() {
        let made = page(&contract()).unwrap();
        let kept = text("docs/scale.md");
        assert!(
            made == kept,
            "docs/scale.md is out of date: run scripts/bench.sh --scale"
        );
        assert!(
            plot(&contract()) == text("docs/scale.svg"),
            "docs/scale.svg is out of date: run scripts/bench.sh --scale"
        );
    }

    /// The contract is measured with the real functions. Its rooms have short names.
    #[test]
    fn the_small_end_is_that_of_the_contract() {
        let contract = contract();
        for (members, action) in [
            (1.0, "publish, room of 1"),
            (2.0, "publish, room of 2"),
            (50.0, "publish, room of 50"),
        ] {
            let (model, measured) = (Publish::to(members, 80.0), contract.action(action).unwrap());
            assert_eq!(model.messages, measured.messages as f64, "{action}");
            assert_eq!(model.requests, 1.0 + measured.callbacks as f64, "{action}");
            assert_eq!(model.read_units, measured.read_units, "{action}");
            assert_eq!(model.write_units, measured.write_units, "{action}");
            let usd = model.requests_usd(&contract.prices);
            assert!(
                (usd - measured.usd_per_million).abs() < 1e-9,
                "{action}: {usd}"
            );
        }
    }

    /// The same for busy rooms. The contract has no row for the pump: its deliveries cost as much as those of a publisher.
    #[test]
    fn a_busy_room_is_that_of_the_contract() {
        let contract = contract();
        let calm = contract
            .action("publish, busy room of 20, when it is calm")
            .unwrap();
        let relied = contract
            .action("publish, busy room of 20, another one delivers")
            .unwrap();
        // With one message a second the publisher delivers. With a million the pump delivers.
        let one = Second::paced(20.0, 80.0, 1.0);
        assert_eq!(one.messages, calm.messages as f64);
        assert_eq!(one.posts, calm.callbacks as f64);
        assert_eq!(one.read_units, calm.read_units);
        assert_eq!(one.write_units, calm.write_units);
        let rate = 1e6;
        let many = Second::paced(20.0, 80.0, rate);
        let rounds = ROUNDS;
        assert_eq!(many.posts, rounds * 20.0);
        assert_eq!(many.messages - many.posts, rate * relied.messages as f64);
        assert_eq!(many.write_units - rounds, rate * relied.write_units);
        let log = (rate * SAID_BYTES / 4096.0 / rounds).ceil() * rounds;
        assert_eq!(
            many.read_units - rounds * 0.5 - log,
            rate * relied.read_units
        );
    }

    /// Rows such as `| 1,000 | 126 ms | …` of the table of fan-outs.
    #[test]
    fn the_time_of_a_fan_out_is_that_of_the_bench() {
        let page = text("docs/performance.md");
        let (_, section) = page.split_once("## Fan-out as on AWS").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        let number = |cell: &str| cell.replace(',', "").trim().parse::<f64>().ok();
        let mut compared = 0;
        for line in section.lines() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let Some(members) = cells.get(1).copied().and_then(number) else {
                continue;
            };
            let measured = number(cells[2].strip_suffix(" ms").unwrap()).unwrap();
            let model = Publish::to(members, MEMBER_BYTES).seconds * 1000.0;
            let ratio = model / measured;
            assert!(
                (0.75..=1.25).contains(&ratio),
                "{members}: {model} of {measured}"
            );
            compared += 1;
        }
        assert_eq!(compared, 4);
    }

    #[test]
    fn the_defaults_are_those_of_terraform() {
        let variables = text("terraform/variables.tf");
        let has = |variable: &str, line: &str| {
            let (_, body) = variables
                .split_once(&format!("variable \"{variable}\" {{"))
                .unwrap();
            let (body, _) = body.split_once("\n}\n").unwrap();
            assert!(body.lines().any(|each| each.trim() == line), "{variable}");
        };
        has("throttle_rate", &format!("default     = {THROTTLE_RATE}"));
        has(
            "table_units_per_second",
            &format!("read  = optional(number, {TABLE_READS})"),
        );
        has(
            "table_units_per_second",
            &format!("write = optional(number, {TABLE_WRITES})"),
        );
        has(
            "paced",
            &format!("from_members     = optional(number, {PACED_FROM})"),
        );
        has(
            "paced",
            &format!("posts_per_second = optional(number, {PACED_POSTS})"),
        );
        has("limits", "per_room          = optional(number, 200)");
        has("limits", "window_seconds    = optional(number, 5)");
        let round = format!("const MESSAGES: usize = {ROUND_MESSAGES};");
        let every = format!("= {:.0}..=250;", 1000.0 / ROUNDS);
        let lead = text("lambdas/chat/src/paced/lead.rs");
        assert!(lead.contains(&round) && lead.contains(&every));
        let locals = text("terraform/locals.tf");
        for share in [
            "route_key = \"history\"\n      share     = 0.5",
            "route_key = \"members\"\n      share     = 0.1",
            "route_key = \"$default\", share = 0.1",
        ] {
            assert!(locals.contains(share), "{share}");
        }
    }

    /// The table of docs/deploy.md, a million messages by the size of the room.
    #[test]
    fn the_prices_of_the_deployment_page_are_those_of_the_model() {
        let contract = contract();
        let deploy = text("docs/deploy.md");
        for members in [2.0, 10.0, 50.0, 100.0, 1_000.0] {
            let publish = Publish::to(members, MEMBER_BYTES);
            let prices = &contract.prices;
            let gateway = publish.messages * prices.message;
            let function = prices.invocation + publish.seconds * GB_SECOND * 1e6;
            let tables =
                publish.read_units * prices.read_unit + publish.write_units * prices.write_unit;
            let cents = |usd: f64| {
                let text = format!("{usd:.2}");
                let (dollars, rest) = text.split_once('.').unwrap();
                format!("{}.{rest}", whole(dollars.parse().unwrap()))
            };
            let row = format!(
                "| {} | {} | {} | {} | **{}** |",
                whole(members),
                cents(gateway),
                cents(function),
                cents(tables),
                whole(publish.usd(prices))
            );
            assert!(deploy.contains(&row), "docs/deploy.md lacks {row}");
        }
    }
}
