//! One user writes from many connections at once: the log never holds more of its messages than the limit.

use std::thread;

use crate::checker::Promises;
use crate::member::Member;
use crate::run::Run;
use crate::seeds::seeds;
use crate::writers::bad_day;

#[test]
fn one_user_on_64_connections_never_passes_the_limit() {
    const CONNECTIONS: usize = 64;
    const MESSAGES: usize = 2;
    const LIMIT: usize = 10;
    const WINDOW_MS: i64 = 1_000;
    for seed in seeds(&[1]) {
        let limits =
            "limits={ per_user = 10, per_room = 0, window_seconds = 1, frames_per_second = 0 }";
        let run = Run::start_without_posts(seed, &["--processes", "16", "--var", limits]);
        let mut members: Vec<_> = (0..CONNECTIONS)
            .map(|_| Member::new(&run, "flood", "hot"))
            .collect();
        run.proxy.rules(bad_day(seed));
        thread::scope(|scope| {
            for member in &mut members {
                scope.spawn(|| {
                    for _ in 0..MESSAGES {
                        member.publish("hot");
                    }
                });
            }
        });
        run.proxy.heal();
        let mut times: Vec<i64> = run
            .log("hot")
            .iter()
            .filter(|row| row["user"]["S"] == "flood")
            .map(|row| row["at"]["N"].as_str().unwrap().parse().unwrap())
            .collect();
        times.sort_unstable();
        assert_eq!(times.len(), CONNECTIONS * MESSAGES);
        for group in times.windows(LIMIT + 1) {
            assert!(group[LIMIT] - group[0] >= WINDOW_MS, "{group:?}");
        }
        // Each member was told to wait, and none lost a message.
        assert!(run.received("error") > 0);
        for member in &mut members {
            member.settle();
        }
        run.check(&Promises::default());
    }
}
