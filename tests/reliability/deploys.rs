//! Deploys while people talk.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::checker::Promises;
use crate::member::Member;
use crate::record::What;
use crate::run::Run;
use kit::proxy::{Fault, Gate, Kind};
use kit::{eventually, functions};

/// Puts a version of the functions in the place of the one before, at once, as `scripts/build.sh` does.
fn deploy(folder: &Path, version: &str) {
    let program = functions().join("roomchat-functions");
    let script = format!(
        "#!/bin/sh\necho \"this is version {version}\" >&2\nexec {} \"$@\"\n",
        program.display()
    );
    let place = folder.join("roomchat-functions");
    fs::create_dir_all(&place).unwrap();
    let new = place.join("bootstrap.new");
    fs::write(&new, script).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&new, place.join("bootstrap")).unwrap();
}

/// The number of processes of a version.
fn started(run: &Run, version: &str) -> usize {
    let said = format!("this is version {version}");
    run.gateway
        .output()
        .iter()
        .filter(|line| line.contains(&said))
        .count()
}

#[test]
fn a_deploy_under_load_drops_nobody_and_loses_nothing() {
    const WRITERS: usize = 4;
    const MESSAGES: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    deploy(folder.path(), "1");
    let run = Run::start(0, &["--functions", folder.path().to_str().unwrap()]);
    let mut members: Vec<Member> = (0..WRITERS)
        .map(|n| Member::new(&run, &format!("user-{n}"), "lobby"))
        .collect();

    // An old function is about to store its message while a new one stores another.
    let gate = Gate::new();
    let held = gate.clone();
    let mut is_first = true;
    run.proxy.rules(move |call| match call.kind {
        Kind::Append if std::mem::take(&mut is_first) => Fault::Hold(held.clone()),
        _ => Fault::None,
    });
    let (first, others) = members.split_at_mut(1);
    thread::scope(|scope| {
        let old = scope.spawn(|| first[0].publish("lobby"));
        gate.reached();
        deploy(folder.path(), "2");
        let ack = others[0].publish("lobby");
        assert_eq!(ack["seq"], 1, "{ack}");
        assert!(started(&run, "2") > 0);
        gate.open();
        assert_eq!(old.join().unwrap()["seq"], 2);
    });
    run.proxy.heal();

    let acks = AtomicUsize::new(0);
    thread::scope(|scope| {
        for member in &mut members {
            scope.spawn(|| {
                for _ in 0..MESSAGES {
                    member.publish("lobby");
                    acks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Forward, and back again.
        for (version, after) in [("3", 20), ("2", 60), ("4", 100)] {
            eventually("the load", || {
                (acks.load(Ordering::Relaxed) >= after).then_some(())
            });
            deploy(folder.path(), version);
        }
    });
    for version in ["1", "2", "3", "4"] {
        assert!(started(&run, version) > 0, "version {version} never ran");
    }
    for member in &mut members {
        assert!(member.is_connected());
        member.settle();
    }
    let events = run.record.events();
    let connected = events
        .iter()
        .filter(|event| matches!(event.what, What::Connecting(_)));
    assert_eq!(connected.count(), WRITERS, "nobody has connected again");
    run.check(&Promises::default());
}
