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
    let is_shared = |table: &Table, key| table.is_shared(alice, MAIL, first, key);
    assert!(!is_shared(&table, Some(app)));
    table.bind(alice, MAIL, WAIT, Key { chosen: b"b", ..app }, 102).unwrap();
    assert!(is_shared(&table, Some(app)));
    assert!(table.is_shared(alice, MAIL, BindingId::default(), Some(app)));
    assert!(is_shared(&table, None));
}

#[test]
fn end_of_a_binding_leaves_other_users_of_the_client_alone() {
    let away = Key { address: at("192.0.2.9"), ..HOME };
    let forwarded = Key { forwarded: Secret::default().digest(&[b"bob"]), ..HOME };
    for (other, shared) in
        [(HOME, false), (away, true), (forwarded, true), (Key { chosen: b"bob", ..HOME }, true)]
    {
        for site in [Site::NONE, Site { tls: false, host: b"app", port: 80 }] {
            let mut table = Table::new();
            let proxy = table.enter(1, "proxy").unwrap();
            let ends = table.bind(proxy, MAIL, WAIT, HOME, 100).unwrap().binding;
            let group = if site == Site::NONE { WIKI } else { MAIL };
            table.bind(proxy, group, WAIT, Key { site, ..other }, 101).unwrap();
            assert_eq!(table.end(ends).unwrap().shared, shared, "{other:?} {site:?}");
        }
    }
}
