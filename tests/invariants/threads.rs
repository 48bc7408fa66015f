// SPDX-License-Identifier: GPL-2.0-only
//! Several processors at once: two vCPUs, dom0, the stub domain and the toolstack.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;
use std::thread;

use msitrap::core::access::ConfigAccess;
use msitrap::core::learn::Mapping;
use msitrap::host::guest::{Guest, GuestAccess};
use msitrap::host::managed::Outcome;
use msitrap::host::refusals::Attempt;

use crate::fake::{tables, Fake, Hand, Source};
use crate::kind::{function, guest_bars, host_bars, known, sbdf, Kind, EXPRESS, MSI, MSIX, POWER};
use crate::lock::{unlocked, Watched};

const KINDS: [Kind; 2] = [Kind::EVERY[3], Kind::EVERY[4]];
/// Assignments, and the steps that the others make meanwhile at least.
const CYCLES: u32 = 60;
const STEPS: u64 = 600;
/// How often one access is made again before its thread gives up: others may keep it busy.
const TRIES: u32 = 200;

struct Shared {
    guest: Guest<Watched>,
    fake: Mutex<Fake>,
    /// How many steps were made, and whether there are enough.
    steps: AtomicU64,
    enough: AtomicBool,
}

/// Numbers that differ enough.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

impl Shared {
    fn hand(&self) -> Hand<'_> {
        Hand::new(&self.fake)
    }

    fn goes_on(&self) -> bool {
        self.steps.fetch_add(1, Ordering::Relaxed);
        thread::yield_now();
        !self.enough.load(Ordering::Relaxed) && !self.fake.is_poisoned()
    }

    fn wait_for_steps(&self) {
        let end = self.steps.load(Ordering::Relaxed) + STEPS;
        while self.steps.load(Ordering::Relaxed) < end && !self.fake.is_poisoned() {
            thread::yield_now();
        }
    }

    fn write(&self, n: usize, offset: u16, size: u8, value: u32) -> Outcome {
        let access = ConfigAccess::at(offset, size).unwrap();
        let access = GuestAccess { function: function(n), access };
        self.until_done(|hand| self.guest.write(access, value, hand))
    }

    fn until_done(&self, mut act: impl FnMut(&mut Hand<'_>) -> Outcome) -> Outcome {
        for _ in 0..TRIES {
            let outcome = act(&mut self.hand());
            if outcome != Outcome::Retry {
                return outcome;
            }
            thread::yield_now();
        }
        Outcome::Retry
    }

    fn place(&self, n: usize) {
        let [low, high] = guest_bars(n, 0);
        for (register, value) in [(0x10, low), (0x18, high), (0x1c, high >> 32), (4, 6)] {
            self.write(n, register, 4, value as u32);
        }
    }

    fn map(&self, n: usize) {
        let (start, size) = host_bars(n)[0];
        let mapping = Mapping {
            guest_frame: guest_bars(n, 0)[0] >> 12,
            machine_frame: start >> 12,
            count: size >> 12,
        };
        self.guest.mapped(&mapping, &mut self.hand());
    }

    fn table(n: usize, offset: u32) -> u64 {
        let (bar, start) = KINDS[n].table_place();
        guest_bars(n, 0)[bar] + start + u64::from(offset)
    }

    /// A vCPU does what it likes.
    fn vcpu(&self, seed: u64) {
        let mut random = Random(seed);
        while self.goes_on() {
            let n = random.below(2) as usize;
            let entry = random.below(KINDS[n].vectors.into()) as u32 * 16;
            match random.below(12) {
                0 => drop(self.write(n, MSI + 4, 4, 0xfee0_0000)),
                1 => drop(self.write(n, MSI + 12, 2, 0x40 + random.below(0x60) as u32)),
                2 => drop(self.write(n, MSI + 2, 2, random.one(&[0, 1, 0x21, 0x51]))),
                3 => drop(self.write(n, MSI + 16, 4, random.below(4) as u32)),
                4 => drop(self.write(n, MSIX + 2, 2, random.one(&[0, 0x8000, 0x8000, 0xc000]))),
                5 => drop(self.write(n, 4, 2, random.one(&[6, 6, 0x406, 4]))),
                6 => {
                    let access = ConfigAccess::at(random.one(&[MSI, MSIX, MSI + 20]), 4).unwrap();
                    let access = GuestAccess { function: function(n), access };
                    self.guest.read(access, true, &mut self.hand());
                }
                7 => {
                    self.guest.read_memory(Self::table(n, entry + 8), 4, &mut self.hand());
                    self.guest.answers(Self::table(n, entry));
                }
                8 | 9 => {
                    self.until_done(|hand| {
                        self.guest.write_memory(Self::table(n, entry), 8, 0xfee0_0000, hand);
                        self.guest.write_memory(Self::table(n, entry + 8), 8, 0x51, hand)
                    });
                }
                10 => {
                    self.until_done(|hand| {
                        self.guest.write_memory(Self::table(n, entry + 12), 4, 1, hand)
                    });
                }
                _ => self.place(n),
            }
        }
    }

    fn host_write(&self, n: usize, offset: u16, size: u8, value: u32) {
        let bytes = (offset..offset + u16::from(size)).zip(value.to_le_bytes());
        self.fake.lock().unwrap().devices[n].on_behalf = bytes.collect();
        let access = ConfigAccess::at(offset, size).unwrap();
        self.guest.host_write(sbdf(n), access, value, &mut self.hand());
        self.fake.lock().unwrap().devices[n].end_of_behalf();
        self.until_done(|hand| {
            if self.guest.settle(sbdf(n), hand) {
                Outcome::Retry
            } else {
                Outcome::Done
            }
        });
    }

    fn dom0(&self) {
        let mut random = Random(3);
        while self.goes_on() {
            let n = random.below(2) as usize;
            match random.below(24) {
                0..8 => self.host_write(n, 4, 2, random.one(&[6, 6, 4, 0x407])),
                8 => self.host_write(n, POWER + 4, 2, 3),
                9..13 => self.host_write(n, POWER + 4, 2, 0),
                13 => self.host_write(n, EXPRESS + 8, 2, 0x8000),
                14 => self.host_write(n, MSI + 2, 2, 0x81),
                15..20 => self.fake.lock().unwrap().advance(random.one(&[
                    1_000_000,
                    10_000_000,
                    100_000_000,
                ])),
                _ => self.host_write(n, 0x10, 4, host_bars(n)[0].0 as u32),
            }
        }
    }

    fn stub_domain(&self) {
        let mut random = Random(4);
        while self.goes_on() {
            let n = random.below(2) as usize;
            match random.below(3) {
                0 => self.map(n),
                1 => self.guest.refuse(sbdf(n), Attempt::Map, 5, &mut self.hand()),
                _ => {
                    let mapping = Mapping {
                        guest_frame: random.below(1 << 20),
                        machine_frame: 0xfe000,
                        count: 0x100,
                    };
                    self.guest.mapped(&mapping, &mut self.hand());
                }
            }
        }
    }

    fn manage(&self, n: usize) {
        self.fake.lock().unwrap().devices[n].away = true;
        assert_eq!(unlocked(|| self.guest.manage(&known(n, KINDS[n]), &mut self.hand())), Ok(true));
        let mut fake = self.fake.lock().unwrap();
        fake.devices[n].assigned = true;
    }

    fn release(&self, n: usize) {
        let mut tries = 0;
        while self.guest.quiesce(sbdf(n), &mut self.hand()) {
            tries += 1;
            assert!(tries < TRIES, "is never quiet");
        }
        {
            let fake = self.fake.lock().unwrap();
            assert!(!fake.devices[n].msi_enabled() && !fake.devices[n].msix_enabled());
            assert!(!fake.holds_interrupts(n));
        }
        // Whatever the others do: it stays off, and its guards stay up.
        thread::yield_now();
        {
            let fake = self.fake.lock().unwrap();
            assert!(!fake.devices[n].msi_enabled() && !fake.devices[n].msix_enabled());
            assert!(!fake.holds_interrupts(n), "comes on again");
        }
        unlocked(|| self.guest.release(sbdf(n), &mut self.hand()));
        let mut fake = self.fake.lock().unwrap();
        assert!(!fake.holds_interrupts(n));
        fake.devices[n].come_free();
    }

    fn toolstack(&self) {
        (0..2).for_each(|n| self.manage(n));
        for cycle in 0..CYCLES {
            self.wait_for_steps();
            self.fake.lock().unwrap().done.clear();
            let n = cycle as usize % 2;
            self.release(n);
            self.manage(n);
        }
    }
}

#[test]
fn processors_at_once_find_every_invariant_kept() {
    let shared = Shared {
        guest: Guest::empty(),
        fake: Mutex::new(Fake::new(&KINDS)),
        steps: AtomicU64::new(0),
        enough: AtomicBool::new(false),
    };
    shared.fake.lock().unwrap().waits = Some(4);
    let tables = thread::scope(|scope| {
        let threads = [
            scope.spawn(|| shared.vcpu(1)),
            scope.spawn(|| shared.vcpu(2)),
            scope.spawn(|| shared.dom0()),
            scope.spawn(|| shared.stub_domain()),
        ];
        let toolstack = scope.spawn(|| {
            let _enough = Enough(&shared.enough);
            shared.toolstack();
            shared.enough.store(true, Ordering::Relaxed);
            for thread in threads {
                thread.join().unwrap();
            }
            for n in 0..2 {
                works_still(&shared, n);
                shared.release(n);
            }
            tables()
        });
        toolstack.join().unwrap()
    });
    let fake = shared.fake.lock().unwrap();
    assert_eq!((fake.windows, tables), (0, 0), "leaves something behind");
    println!("{} had to wait; the most at one entry: {:?}", fake.waited, fake.most);
    assert!(fake.waited > 10, "nobody had to wait");
}

/// However the toolstack ends, the others end, too.
struct Enough<'a>(&'a AtomicBool);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// After all that the device delivers.
fn works_still(shared: &Shared, n: usize) {
    shared.host_write(n, POWER + 4, 2, 0);
    shared.fake.lock().unwrap().advance(100_000_000);
    shared.host_write(n, 4, 2, 6);
    shared.place(n);
    shared.map(n);
    shared.write(n, MSIX + 2, 2, 0);
    shared.write(n, MSI + 2, 2, 0);
    shared.write(n, MSI + 4, 4, 0xfee0_1000);
    shared.write(n, MSI + 8, 4, 0);
    shared.write(n, MSI + 12, 2, 0x61);
    assert_eq!(shared.write(n, MSI + 2, 2, 1), Outcome::Done);
    // What had to wait is made by the timer.
    let settle = |hand: &mut Hand<'_>| shared.guest.settle(sbdf(n), hand);
    assert_eq!(
        shared.until_done(|hand| if settle(hand) { Outcome::Retry } else { Outcome::Done }),
        Outcome::Done
    );
    assert_eq!(
        shared.fake.lock().unwrap().live(n, Source::Msi(0)).map(|live| (live.0, live.1)),
        Some((0x61, 1))
    );
}
