//! Whose binding makes room: handshaking, then unproven, then proven; of the address with most of them, the one unused longest.

use ntlm_testkit::client::{Login, kerberos_token};
use ntlm_testkit::{Client, Nginx, Origin, Request, password_of};

async fn front(origin: &Origin, group: &str) -> Nginx {
    Nginx::builder().log_level("info").in_front_of(&[origin], group).start().await
}

/// A user with a client connection of its own, and the origin's connection it is bound to.
struct Party {
    client: Client,
    bound: u64,
}

impl Party {
    /// Asks for `request` from `address`, with `credentials`.
    async fn with(nginx: &Nginx, address: &str, request: Request, credentials: &str) -> Self {
        let mut client = Client::builder().source(address).connect(nginx).await;
        let bound = client.request(request.header("Authorization", credentials)).await.connection();
        Self { client, bound }
    }

    /// Logged in by NTLM: the origin asked for it.
    async fn proven(nginx: &Nginx, address: &str) -> Self {
        let mut client = Client::builder().source(address).connect(nginx).await;
        let bound = client.login("alice", "/").await[1].connection();
        Self { client, bound }
    }

    /// Junk that a page without authentication answered with 200.
    async fn unproven(nginx: &Nginx, address: &str) -> Self {
        Self::with(nginx, address, Request::get("/public/?ignore"), "NTLM x").await
    }

    /// Junk that was answered with 401.
    async fn handshaking(nginx: &Nginx, address: &str) -> Self {
        Self::with(nginx, address, Request::get("/"), "NTLM x").await
    }

    /// This one made room.
    async fn made_room(mut self, origin: &Origin) {
        origin.wait_closed(self.bound).await;
        self.client.closed().await;
    }

    /// This one is still served over its connection.
    async fn stays(&mut self) {
        let response = self.client.get("/public/").await;
        assert_eq!(response.connection(), self.bound, "{response:?}");
    }
}

#[tokio::test]
async fn handshakes_then_unproven_then_proven_make_room() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 3;").await;
    // Each is older than what ends before it.
    let mut proven = Party::proven(&nginx, "127.0.0.11").await;
    let mut unproven = Party::unproven(&nginx, "127.0.0.12").await;
    let handshaking = Party::handshaking(&nginx, "127.0.0.13").await;
    let _first = Party::proven(&nginx, "127.0.0.14").await;
    handshaking.made_room(&origin).await;
    unproven.stays().await;
    let _second = Party::proven(&nginx, "127.0.0.15").await;
    unproven.made_room(&origin).await;
    // Asked without a look at the binding's place: it is the one unused longest.
    assert!(origin.connection_ids_open().contains(&proven.bound));
    let _third = Party::proven(&nginx, "127.0.0.16").await;
    proven.client.closed().await;
    origin.wait_closed(proven.bound).await;
}

#[tokio::test]
async fn ticket_answered_with_a_token_is_proven() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 2;").await;
    let ticket = format!("Negotiate {}", kerberos_token("alice", &password_of("alice")));
    let mut alice = Party::with(&nginx, "127.0.0.11", Request::get("/"), &ticket).await;
    let unasked = Party::with(&nginx, "127.0.0.12", Request::get("/?nomutual"), &ticket).await;
    let mut bob = Party::proven(&nginx, "127.0.0.13").await;
    unasked.made_room(&origin).await;
    alice.stays().await;
    bob.stays().await;
}

#[tokio::test]
async fn junk_in_full_group_evicts_one_at_most() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 2;").await;
    let _alice = Party::proven(&nginx, "127.0.0.11").await;
    let mut bob = Party::proven(&nginx, "127.0.0.12").await;
    let mut held = Vec::new();
    for number in 20..30 {
        held.push(Party::unproven(&nginx, &format!("127.0.0.{number}")).await);
        held.push(Party::handshaking(&nginx, &format!("127.0.0.{number}")).await);
    }
    bob.stays().await;
}

#[tokio::test]
async fn address_with_most_proven_bindings_pays() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 4;").await;
    let mut alice = Party::proven(&nginx, "127.0.0.11").await;
    let oldest = Party::proven(&nginx, "127.0.0.12").await;
    let mut middle = Party::proven(&nginx, "127.0.0.12").await;
    let mut youngest = Party::proven(&nginx, "127.0.0.12").await;
    let mut bob = Party::proven(&nginx, "127.0.0.13").await;
    oldest.made_room(&origin).await;
    for party in [&mut alice, &mut middle, &mut youngest, &mut bob] {
        party.stays().await;
    }
    nginx.wait_log(|log| log.contains("one client address has most connections")).await;
}

#[tokio::test]
async fn address_with_most_unproven_bindings_pays() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 4;").await;
    let mut alice = Party::unproven(&nginx, "127.0.0.11").await;
    let oldest = Party::unproven(&nginx, "127.0.0.12").await;
    let mut youngest = Party::unproven(&nginx, "127.0.0.12").await;
    let mut carol = Party::unproven(&nginx, "127.0.0.13").await;
    let mut bob = Party::unproven(&nginx, "127.0.0.14").await;
    oldest.made_room(&origin).await;
    for party in [&mut alice, &mut youngest, &mut carol, &mut bob] {
        party.stays().await;
    }
}

#[tokio::test]
async fn address_with_most_handshakes_pays() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 3;").await;
    let mut alice = Client::builder().source("127.0.0.11").connect(&nginx).await;
    let challenge = alice.leg1("alice", "/").await;
    let oldest = Party::handshaking(&nginx, "127.0.0.12").await;
    let _youngest = Party::handshaking(&nginx, "127.0.0.12").await;
    let _other = Party::handshaking(&nginx, "127.0.0.13").await;
    oldest.made_room(&origin).await;
    let response = alice.leg3(&challenge, "/").await;
    assert_eq!((response.identity(), response.connection()), ("alice", challenge.connection()));
}

/// nginx that trusts every client's word for the address of a request.
async fn believing(origin: &Origin, group: &str) -> Nginx {
    Nginx::builder()
        .log_level("info")
        .conf("set_real_ip_from 127.0.0.0/8; real_ip_header X-Forwarded-For;")
        .in_front_of(&[origin], group)
        .start()
        .await
}

/// A client that logs in as a user at `address`, as a proxy in front reports it.
async fn forwarded(nginx: &Nginx, address: &str) -> (Client, Request, u64) {
    let mut client = Client::connect(nginx).await;
    let request = Request::get("/").header("X-Forwarded-For", address);
    let legs = client.login_as(Login::new("NTLM", "alice", &password_of("alice")), request.clone()).await;
    assert_eq!(legs[1].identity(), "alice");
    (client, request, legs[1].connection())
}

#[tokio::test]
async fn ipv6_addresses_of_one_64_count_as_one() {
    if !Nginx::binary().has("with-http_realip_module") {
        return; // To this nginx all clients have the proxy's address.
    }
    let origin = Origin::start().await;
    let nginx = believing(&origin, "ntlm 3;").await;
    let (mut alice, of_alice, bound) = forwarded(&nginx, "2001:db8:0:2::1").await;
    let (_mallory, _, oldest) = forwarded(&nginx, "2001:db8:0:1::1").await;
    let (_malcolm, _, _) = forwarded(&nginx, "2001:db8:0:1:ffff::2").await;
    let (_bob, _, _) = forwarded(&nginx, "2001:db8:0:3::1").await;
    origin.wait_closed(oldest).await;
    let response = alice.request(of_alice).await;
    assert_eq!((response.identity(), response.connection()), ("alice", bound));
}

#[tokio::test]
async fn real_addresses_count_and_not_the_proxys() {
    if !Nginx::binary().has("with-http_realip_module") {
        return; // To this nginx all clients have the proxy's address.
    }
    let origin = Origin::start().await;
    let nginx = believing(&origin, "ntlm 3;").await;
    let (mut alice, of_alice, bound) = forwarded(&nginx, "192.0.2.1").await;
    let (_mallory, _, oldest) = forwarded(&nginx, "192.0.2.2").await;
    let (_malcolm, _, _) = forwarded(&nginx, "192.0.2.2").await;
    let (_bob, _, _) = forwarded(&nginx, "192.0.2.3").await;
    origin.wait_closed(oldest).await;
    let response = alice.request(of_alice).await;
    assert_eq!((response.identity(), response.connection()), ("alice", bound));
}

#[tokio::test]
async fn client_with_many_keys_pays_with_its_own() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 4; ntlm_key $http_x_session;").await;
    let session = |name: &str| Request::get("/").header("X-Session", name);
    // Both at one address, so that only the client connections tell them apart.
    let mut alice = Client::connect(&nginx).await;
    let login = Login::new("NTLM", "alice", &password_of("alice"));
    let bound = alice.login_as(login, session("alice")).await[1].connection();
    let ticket = format!("Negotiate {}", kerberos_token("mallory", &password_of("mallory")));
    let mut mallory = Client::connect(&nginx).await;
    for number in 0..10 {
        let request = session(&format!("mallory{number}")).header("Authorization", &ticket);
        let response = mallory.request(request).await;
        assert_eq!(response.identity(), "mallory");
    }
    let response = alice.request(session("alice")).await;
    assert_eq!((response.identity(), response.connection()), ("alice", bound));
}

/// The head of a request whose body nginx is made to wait for, before it asks an origin.
const BEGINNING: &str =
    "POST /late HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

#[tokio::test]
async fn shortage_of_connections_spares_the_proven() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder().in_front_of(&[&origin], "ntlm;").worker_connections(24).start().await;
    let mut parties = vec![Party::proven(&nginx, "127.0.0.11").await];
    for _ in 0..5 {
        parties.push(Party::unproven(&nginx, "127.0.0.12").await);
    }
    for party in &mut parties {
        // With a request begun, only its binding can be spared.
        party.client.send_raw(BEGINNING.as_bytes()).await;
        assert_eq!(party.client.read_raw(CONTINUE.len()).await, CONTINUE);
    }
    let open = |party: &Party| origin.connection_ids_open().contains(&party.bound);
    let mut newcomers = Vec::new();
    while parties.iter().all(open) {
        assert!(newcomers.len() < 24, "nothing was spared");
        let mut newcomer = Client::connect(&nginx).await;
        newcomer.send(Request::get("/public/?gate=full")).await;
        origin.wait_gate_count("full", newcomers.len() + 1).await;
        newcomers.push(newcomer);
    }
    assert!(open(&parties[0]), "the proven one is older, and stays");
    assert!(!open(&parties[1]), "of the others the oldest goes");
    origin.open_gate("full");
}
