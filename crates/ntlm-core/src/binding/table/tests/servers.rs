//! Bindings of one client to several servers.

use super::*;

#[test]
fn each_server_has_a_binding_of_its_own() {
    let mut table = Table::new();
    let alice = table.enter(1, "alice").unwrap();
    let app = Key { site: Site { tls: false, host: b"app", port: 80 }, ..HOME };
    let mail = Key { site: Site { tls: false, host: b"mail", port: 80 }, ..HOME };
    for (key, connection) in [(app, 100), (mail, 101)] {
        let made = table.bind(alice, MAIL, WAIT, key, connection).unwrap();
        park_at(&mut table, made.binding, Phase::Proven, 9, 0).unwrap();
    }
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), Err(Missed::Nothing));
    assert_eq!(claim(&mut table, alice, 1, MAIL, app), Ok(100));
    assert_eq!(claim(&mut table, alice, 1, MAIL, mail), Ok(101));
}

#[test]
fn bindings_of_other_servers_do_not_share_a_client() {
    let mut table = Table::new();
    let alice = table.enter(1, "alice").unwrap();
    let app = Key { site: Site { tls: false, host: b"app", port: 80 }, ..HOME };
    let mail = Key { site: Site { tls: false, host: b"mail", port: 80 }, ..HOME };
    let first = table.bind(alice, MAIL, WAIT, app, 100).unwrap().binding;
    table.bind(alice, MAIL, WAIT, mail, 101).unwrap();
    assert!(!table.is_shared(alice, MAIL, first));
    table.bind(alice, MAIL, WAIT, Key { chosen: b"b", ..app }, 102).unwrap();
    assert!(table.is_shared(alice, MAIL, first));
    assert!(table.is_shared(alice, MAIL, BindingId::default()));
}
