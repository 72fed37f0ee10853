//! A made-up workload, for benchmarks and tests: the same seed gives the same trace, in the Standard Workload Format.
//!
//! What makes real traces hard is in it: few users submit most jobs, jobs come in bursts by day, most are narrow and short
//! and some wide and long, some were cancelled before they started or have no known size.

use std::fmt::Write;

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct Synthetic {
    /// Another number, another trace.
    pub seed: u64,
    /// How many records.
    pub n_jobs: usize,
    /// How many users there are at most.
    pub n_users: u64,
    /// The processors of the cluster; the widest job has a quarter of them.
    pub processors: u64,
    /// The mean time between two submissions, in seconds.
    pub pause: u64,
}

/// A day in seconds.
const DAY: u64 = 86_400;

/// The power of two by which a generator's numbers are mixed (SplitMix64: Steele, Lea and Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// From 1 to `bound`, small numbers far more often than large ones.
    fn skewed(&mut self, bound: u64) -> u64 {
        let bits = u64::from(64 - bound.max(1).leading_zeros());
        let size = 1 << self.below(bits);
        (size + self.below(size)).min(bound.max(1))
    }
}

impl Synthetic {
    /// The trace as a file.
    #[must_use]
    pub fn to_swf(&self) -> String {
        let mut random = Random(self.seed);
        let mut text = String::new();
        put(
            &mut text,
            format_args!(
                "; A made-up workload, seed {}\n; MaxProcs: {}\n",
                self.seed, self.processors
            ),
        );
        let mut now = 0;
        for job in 1..=self.n_jobs {
            // By night a fifth comes of what comes by day.
            let is_night = now % DAY < DAY / 3;
            let pause = self.pause * if is_night { 5 } else { 1 };
            if random.below(4) == 0 {
                now += random.below(8 * pause + 1);
            }
            let user = random.skewed(self.n_users);
            // People ask for round numbers, mostly.
            let widest = random.skewed(self.processors / 4);
            let processors = match random.below(4) {
                0 => widest,
                _ => widest.next_power_of_two().min(self.processors / 4),
            };
            let run = 10 * random.skewed(20_000);
            let mem_kib = 1024 << random.below(12);
            let (run, processors, status) = match random.below(20) {
                0 => (0, processors as i64, 5),
                1 => (run, -1, 1),
                _ => (run, processors as i64, 1),
            };
            let group = user % 7;
            put(
                &mut text,
                format_args!(
                    "{job} {now} -1 {run} {processors} -1 -1 {processors} {} {mem_kib} {status} {user} {group} -1 {} 1 -1 -1\n",
                    2 * run,
                    user % 3
                ),
            );
        }
        text
    }
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing into a string can't fail.
    let _ = text.write_fmt(line);
}
