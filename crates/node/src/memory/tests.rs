use super::kind::labels;
use super::*;

const TOTAL: usize = 1600;

fn account(memory: &Memory, last: u8) -> Account {
    memory.account(Some(AddressKey::of([192, 0, 2, last].into())))
}

fn scope(result: Result<Permit, NoRoom>) -> Scope {
    result.unwrap_err().scope
}

#[test]
fn a_connection_has_an_eighth_and_an_address_a_quarter() {
    let memory = Memory::new(TOTAL);
    let one = account(&memory, 1);
    let mut permits = vec![one.take(Kind::Requests, 150).unwrap()];
    assert_eq!(scope(one.take(Kind::Requests, 51)), Scope::Connection);
    permits.push(one.take(Kind::Requests, 50).unwrap());
    permits.push(account(&memory, 1).take(Kind::Bodies, 200).unwrap());
    assert_eq!(scope(account(&memory, 1).take(Kind::Requests, 1)), Scope::Address);
    assert!(account(&memory, 2).take(Kind::Bodies, 200).is_ok());
    permits.clear();
    assert!(one.take(Kind::Requests, 200).is_ok());
    assert!(memory.0.held.iter().all(|held| held.load(Ordering::Relaxed) == 0));
}

#[test]
fn each_kind_has_a_share_and_addresses_that_use_little_have_a_reserve() {
    let memory = Memory::new(TOTAL);
    let many = |kind, from, bytes| -> Vec<Permit> {
        (from..from + 30).map_while(|last| account(&memory, last).take(kind, bytes).ok()).collect()
    };
    let bodies = many(Kind::Bodies, 0, 50);
    assert_eq!(bodies.len(), 8, "a quarter");
    assert_eq!(scope(account(&memory, 99).take(Kind::Bodies, 50)), Scope::Node);
    let light = many(Kind::Bodies, 40, 20);
    assert_eq!(light.len(), 2, "a thirty-second for addresses that use little");
    let responses = many(Kind::Responses, 80, 50);
    assert_eq!(responses.len(), 4, "an eighth, independent of bodies");
    let requests = many(Kind::Requests, 120, 50);
    assert_eq!(requests.len(), 4, "an eighth");
    assert_eq!(many(Kind::Requests, 160, 25).len(), 2);
    assert_eq!(many(Kind::Sockets, 200, 50).len(), 8, "a quarter");
    drop(bodies);
    assert!(account(&memory, 99).take(Kind::Bodies, 100).is_ok());
}

#[test]
fn an_address_is_removed_with_its_last_account() {
    let memory = Memory::new(TOTAL);
    let (one, other) = (account(&memory, 1), account(&memory, 1));
    let permit = other.take(Kind::Bodies, 10).unwrap();
    drop((one, other));
    assert_eq!(memory.addresses().len(), 1, "a permit keeps it");
    drop(permit);
    assert!(memory.addresses().is_empty());
}

#[test]
fn refusals_are_counted_and_a_permit_that_cannot_grow_keeps_its_bytes() {
    let memory = Memory::new(TOTAL);
    let account = account(&memory, 1);
    let mut permit = account.take(Kind::Bodies, 100).unwrap();
    assert!(permit.grow(101).is_err());
    assert_eq!(permit.bytes(), 100);
    let refused = memory.0.refused.get_or_create(&labels(Kind::Bodies, Scope::Connection)).get();
    assert_eq!((refused, memory.0.gauges[Kind::Bodies as usize].get()), (1, 100));
    drop(permit);
    assert_eq!(memory.0.gauges[Kind::Bodies as usize].get(), 0);
}
