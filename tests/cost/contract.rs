//! Compares the measured usage with the contract.

use serde_json::{Map, Value, json};

use crate::actions;
use crate::prices::Usage;
use crate::world::World;

const CONTRACT: &str = include_str!("contract.json");

/// The usage of an action, in the form of the contract.
fn entry(action: &str, usage: &Usage, prices: &Value) -> Value {
    json!({
        "action": action,
        "messages": usage.messages,
        "callbacks": usage.callbacks,
        "invocations": usage.invocations,
        "dynamodb": usage.dynamodb,
        "readUnits": usage.read_units,
        "writeUnits": usage.write_units,
        // To a thousandth of a cent.
        "usdPerMillion": (usage.usd(prices) * 1e5).round() / 1e5,
    })
}

fn row(entry: &Value) -> String {
    let empty = Map::new();
    let calls = entry["dynamodb"].as_object().unwrap_or(&empty);
    let calls: Vec<String> = calls
        .iter()
        .map(|(name, n)| format!("{n} {name}"))
        .collect();
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {:.3} |",
        entry["action"].as_str().unwrap_or_default(),
        entry["messages"],
        entry["callbacks"],
        entry["invocations"],
        calls.join(", "),
        entry["readUnits"],
        entry["writeUnits"],
        entry["usdPerMillion"].as_f64().unwrap_or_default(),
    )
}

#[test]
fn every_action_costs_what_the_contract_says() {
    let contract: Value = serde_json::from_str(CONTRACT).unwrap();
    let mut world = World::start();
    let mut used = actions::all(&mut world);
    // An idle service makes no requests.
    world.measure(|_| {});
    drop(world);
    let mut world = World::start_with_identity();
    actions::identified(&mut world, &mut used);
    world.measure(|_| {});
    drop(world);
    let mut world = World::start_with_review();
    actions::reviewed(&mut world, &mut used);
    world.measure(|_| {});
    let of = |name: &str| &used.iter().find(|(action, _)| *action == name).unwrap().1;
    assert_eq!(
        of("publish with identity, room of 2"),
        of("publish, room of 2"),
        "a right costs no request"
    );
    drop(world);
    let mut world = World::start_busy();
    actions::busy(&mut world, &mut used);
    world.measure(|_| {});
    let measured: Vec<Value> = used
        .iter()
        .map(|(action, usage)| entry(action, usage, &contract["usdPerMillion"]))
        .collect();
    println!(
        "| action | messages | @connections | invocations | DynamoDB | read units | write units | USD per million |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for entry in &measured {
        println!("{}", row(entry));
    }
    let agreed = contract["actions"].as_array().unwrap();
    let differing: Vec<String> = measured
        .iter()
        .filter(|entry| !agreed.contains(entry))
        .map(Value::to_string)
        .collect();
    assert!(
        differing.is_empty(),
        "not what tests/cost/contract.json says; measured:\n{}",
        differing.join(",\n")
    );
    assert_eq!(agreed.len(), measured.len(), "actions that nobody measures");
}
