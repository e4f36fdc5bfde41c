//! The table of bindings alone: the time of a request and of a login, beside 10 to 1,000,000 clients that have a binding.
//!
//! The clients that ask are as many for each size of the table, so that the processor's cache holds them: what is seen is the
//! table's own work. The time is that of the processor, since other processes take the machine away meanwhile.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may panic")]

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use nix::time::{ClockId, clock_gettime};
use ntlm_core::binding::exchange::Phase;
use ntlm_core::binding::ids::{BindingId, ClientId, GroupId};
use ntlm_core::binding::key::{Address, Key};
use ntlm_core::binding::table::Bindings;

const SIZES: [u64; 6] = [10, 100, 1000, 10_000, 100_000, 1_000_000];
const GROUP: GroupId = GroupId(0);
/// Milliseconds that a binding may wait.
const TIMEOUT: u64 = 60_000;
/// Clients that ask one after the other; each of them came behind a tenth of the others.
const ASKING: u64 = 10;

/// A client of the table.
struct Client {
    number: u64,
    id: ClientId,
    binding: BindingId,
    address: Address,
}

/// A table, and the clients in it.
struct Crowd {
    table: Bindings<u64, u64>,
    asking: Vec<Client>,
}

/// Clients have addresses of their own.
fn address(number: u64) -> Address {
    let [.., a, b, c] = number.to_be_bytes();
    Address::v4([10, a, b, c])
}

impl Crowd {
    fn of(size: u64) -> Self {
        let mut crowd = Self { table: Bindings::new(), asking: Vec::new() };
        for number in 0..size {
            let client = crowd.log_in(number);
            if number % (size / ASKING) == 0 {
                crowd.asking.push(client);
            }
        }
        crowd
    }

    /// A client comes, and its login is proven.
    fn log_in(&mut self, number: u64) -> Client {
        let address = address(number);
        let id = self.table.enter(number, number).unwrap();
        let binding = self.table.bind(id, GROUP, TIMEOUT, Key::of(address), number).unwrap().binding;
        self.table.park(binding, Phase::Proven, 0).unwrap();
        Client { number, id, binding, address }
    }

    /// A request takes its client's binding, and gives it back.
    fn request(&mut self, turn: usize) {
        let client = &self.asking[turn % self.asking.len()];
        let claim = self.table.claim_by_address(client.id, client.number, GROUP, client.address, |_| true);
        assert!(claim.is_some());
        let again = self.table.park_again(client.binding, 1, usize::MAX);
        assert!(black_box(again));
    }

    /// A client comes, logs in, and leaves.
    fn login(&mut self, number: u64) {
        let client = self.log_in(number);
        while black_box(self.table.leave(client.id)).is_some() {}
    }
}

/// The time that the processor has spent on this thread.
struct ProcessorTime;

impl ProcessorTime {
    fn now() -> Duration {
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
    }
}

impl Measurement for ProcessorTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        Self::now()
    }

    fn end(&self, start: Duration) -> Duration {
        Self::now() - start
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, time: &Duration) -> f64 {
        WallTime.to_f64(time)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        const { &WallTime }.formatter()
    }
}

fn table(criterion: &mut Criterion<ProcessorTime>) {
    let mut group = criterion.benchmark_group("table");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for size in SIZES {
        let mut crowd = Crowd::of(size);
        let mut turn = 0;
        group.bench_with_input(BenchmarkId::new("request", size), &(), |bencher, ()| {
            bencher.iter(|| {
                turn += 1;
                crowd.request(turn);
            });
        });
        let mut number = size;
        group.bench_with_input(BenchmarkId::new("login", size), &(), |bencher, ()| {
            bencher.iter(|| {
                number += 1;
                crowd.login(number);
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ProcessorTime);
    targets = table
}
criterion_main!(benches);
