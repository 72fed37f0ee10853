//! What is proved of dominant resource fairness for divisible tasks (Ghodsi et al., NSDI 2011, sections 3 and 6),
//! with the slack that whole tasks need.
//!
//! Queues with tasks of one kind each and no end of them fill one machine from nothing. Below, s is a queue's
//! dominant share, w its weight, W the sum of all weights, d its demand of a resource as a part of all there is, δ
//! the dominant share of one of its tasks, D the sum of all δ; a queue's key is s/w. *Passed over* is a queue when
//! another is served though its key is greater: its own task doesn't fit. Let T be the first moment when that
//! happens to queue i, or the end. Up to T whoever was served had a key of at most that of i, so for every queue j
//! (1) s_j(T) ≤ w_j · s_i(T)/w_i + δ_j. And at T queue i lacks a resource: (2) what is used of it, and d_i, pass 1.

use std::fmt::Debug;
use std::sync::Arc;

use apportion_policies::{Key, QueueId, QueueSettings, QueueTree, Ranking, Share, TaskRank};
use num_rational::Ratio;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{TestCaseResult, TestError, TestRunner};

use crate::sim::{Sim, weight};

type Number = Ratio<i128>;

#[derive(Clone, Debug)]
struct Wish {
    weight: u64,
    demand: Vec<u64>,
}

#[derive(Clone, Debug)]
struct Market {
    capacity: Vec<u64>,
    wishes: Vec<Wish>,
}

fn whole(number: u64) -> Number {
    Number::from_integer(i128::from(number))
}

/// Of a queue or a resource.
fn name(place: usize) -> String {
    format!("n{place}")
}

/// Amounts of the resources, as the simulated world reads them.
fn named(amounts: &[u64]) -> Vec<(String, String)> {
    let named = amounts.iter().enumerate();
    named
        .map(|(place, amount)| (name(place), amount.to_string()))
        .collect()
}

fn by_ref(named: &[(String, String)]) -> Vec<(&str, &str)> {
    let pairs = named.iter();
    pairs
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect()
}

/// A way to divide a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Division {
    Drf,
    Fifo,
    /// By number of tasks.
    Weighted,
    /// Least sum of all shares first: asset fairness (section 5.1 of the paper).
    Assets,
    /// Each queue may use its part of each resource, by weight, and no more.
    FixedParts,
    /// Least tasks first where the number of queues is odd, else all for the queue that is first.
    Fickle,
}

struct Assets;

impl Ranking for Assets {
    fn key(&self, tree: &QueueTree, queue: QueueId, _next: TaskRank) -> Key {
        // In millionths, which is as exact as a wrong policy needs to be.
        let part = |(id, used): (_, apportion_policies::Amount)| {
            used.milli() * 1_000_000 / tree.totals().get(id).milli()
        };
        let sum = tree.used(queue).iter().map(part).sum();
        Key::share(Share::count(sum).per(tree.settings(queue).weight))
    }
}

struct Fickle;

impl Ranking for Fickle {
    fn key(&self, tree: &QueueTree, queue: QueueId, _next: TaskRank) -> Key {
        let n_queues = tree.children(tree.root()).len();
        Key::share(Share::count(if n_queues % 2 == 1 {
            tree.running(queue)
        } else {
            u64::try_from(queue.index()).unwrap()
        }))
    }
}

impl Division {
    fn policy(self) -> &'static str {
        match self {
            Self::Drf | Self::FixedParts => "drf",
            Self::Fifo => "fifo",
            Self::Weighted => "weighted",
            Self::Assets => "assets",
            Self::Fickle => "fickle",
        }
    }
}

/// One machine.
fn machine(division: Division, capacity: &[u64]) -> Sim {
    let mut sim = Sim::new(division.policy()).without_reference();
    sim.registry.register("assets", |_| Arc::new(Assets));
    sim.registry.register("fickle", |_| Arc::new(Fickle));
    sim.agent(&by_ref(&named(capacity)));
    sim
}

/// More tasks than could run.
fn submit_many(sim: &mut Sim, path: &str, demand: &[u64], capacity: &[u64]) {
    let asked = demand
        .iter()
        .zip(capacity)
        .filter(|(amount, _)| **amount > 0);
    let most = asked.map(|(amount, capacity)| capacity / amount).min();
    let n_tasks = most.unwrap_or(0) as usize + 1;
    sim.submit(path, n_tasks, &by_ref(&named(demand)));
}

/// Demands of at least `least` of each resource, but never of nothing at all.
fn markets(least: u64) -> impl Strategy<Value = Market> {
    let sizes = (1..4_usize, 2..5_usize);
    sizes.prop_flat_map(move |(n_resources, n_queues)| {
        let demand = vec(least..5, n_resources);
        let demand = demand.prop_filter("asks for something", |demand| {
            demand.iter().any(|amount| *amount > 0)
        });
        let wish = (1..4_u64, demand).prop_map(|(weight, demand)| Wish { weight, demand });
        let capacity = vec(60..240_u64, n_resources);
        (capacity, vec(wish, n_queues)).prop_map(|(capacity, wishes)| Market { capacity, wishes })
    })
}

impl Market {
    /// Fills the machine; how many tasks each queue got.
    fn fill(&self, division: Division) -> Vec<u64> {
        let mut sim = machine(division, &self.capacity);
        let weights: u64 = self.wishes.iter().map(|wish| wish.weight).sum();
        for (place, wish) in self.wishes.iter().enumerate() {
            let path = name(place);
            let part = |capacity: &u64| capacity * wish.weight / weights;
            let parts: Vec<u64> = self.capacity.iter().map(part).collect();
            let max = match division {
                Division::FixedParts => sim.demand_with_zeros(&by_ref(&named(&parts))),
                Division::Drf
                | Division::Fifo
                | Division::Weighted
                | Division::Assets
                | Division::Fickle => Vec::new(),
            };
            let weight = weight(&wish.weight.to_string()).weight;
            sim.queue(
                &path,
                QueueSettings {
                    weight,
                    max,
                    ..QueueSettings::default()
                },
            );
            submit_many(&mut sim, &path, &wish.demand, &self.capacity);
        }
        sim.offer();
        let paths = (0..self.wishes.len()).map(name);
        paths.map(|path| sim.running(&path)).collect()
    }

    /// What one task demands of each resource, as a part of all there is.
    fn parts(&self, demand: &[u64]) -> Vec<Number> {
        let pairs = demand.iter().zip(&self.capacity);
        pairs
            .map(|(amount, capacity)| whole(*amount) / whole(*capacity))
            .collect()
    }

    /// δ.
    fn task(&self, queue: usize) -> Number {
        self.dominant(&self.wishes[queue].demand)
    }

    fn dominant(&self, demand: &[u64]) -> Number {
        self.parts(demand).into_iter().max().unwrap_or_default()
    }

    fn tasks(&self) -> Vec<Number> {
        (0..self.wishes.len())
            .map(|queue| self.task(queue))
            .collect()
    }

    /// D'.
    fn loss(&self) -> Number {
        let tasks = self.tasks();
        tasks.iter().sum::<Number>() + tasks.iter().max().copied().unwrap_or_default()
    }

    fn weight(&self, queue: usize) -> Number {
        whole(self.wishes[queue].weight)
    }

    /// How many whole tasks of a queue so much of each resource is good for.
    fn n_useful(&self, queue: usize, bundle: &[Number]) -> Number {
        let parts = self.parts(&self.wishes[queue].demand);
        let asked = parts
            .iter()
            .zip(bundle)
            .filter(|(part, _)| **part > whole(0));
        let least = asked.map(|(part, amount)| amount / part).min();
        least.unwrap_or_default().floor()
    }

    /// The largest ratio between what two queues demand of a resource that both demand.
    fn ratio(&self) -> Number {
        let column = |resource: usize| {
            let amounts = self.wishes.iter().map(move |wish| wish.demand[resource]);
            let asked = amounts.filter(|amount| *amount > 0);
            (asked.clone().max().unwrap_or(1), asked.min().unwrap_or(1))
        };
        let ratios = (0..self.capacity.len()).map(column);
        let ratios = ratios.map(|(most, least)| whole(most) / whole(least));
        ratios.max().unwrap_or(whole(1))
    }
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn at_most(one: Number, other: Number, what: impl Debug) -> Result<(), TestCaseError> {
    prop_assert!(one <= other, "{one} > {other}: {what:?}");
    Ok(())
}

/// Nobody would be better off with a machine of its own, of w/W of each resource: s > w/W · (1 − D). By (2) the
/// sum over all s_j and δ_i passes 1; with (1) that is s_i · W/w_i + D > 1.
fn sharing_pays(market: &Market, division: Division) -> TestCaseResult {
    let got = market.fill(division);
    let all: Number = (0..got.len()).map(|queue| market.weight(queue)).sum();
    let loss: Number = market.tasks().iter().sum();
    for (queue, n_tasks) in got.iter().enumerate() {
        let share = whole(*n_tasks) * market.task(queue);
        let due = market.weight(queue) / all * (whole(1) - loss);
        at_most(due, share, (queue, &got))?;
    }
    Ok(())
}

/// Nobody would rather have what another has, scaled by the weights: with it a queue could run at most
/// w_i/w_j · (1 + δ_j/δ_i) tasks more than it does. Up to T (1) bounds j's share, and with it what i could do with j's
/// part of i's dominant resource: x_i + w_i/w_j · δ_j/δ_i tasks. Later j gets, of the resource that i lacks, less than
/// one task of i needs. Let it grow q-fold by that: i could run at most (1 + q)-fold the above, and at most
/// w_i/w_j · (1 + 1/q); the lesser of both is largest where they are equal.
fn nobody_envies_another(market: &Market, division: Division) -> TestCaseResult {
    let got = market.fill(division);
    for one in 0..got.len() {
        for other in 0..got.len() {
            let scale = market.weight(one) / market.weight(other);
            let parts = market.parts(&market.wishes[other].demand).into_iter();
            let bundle: Vec<_> = parts.map(|part| part * whole(got[other]) * scale).collect();
            let slack = scale * (whole(1) + market.task(other) / market.task(one));
            at_most(
                market.n_useful(one, &bundle),
                whole(got[one]) + slack,
                (one, other, &got),
            )?;
        }
    }
    Ok(())
}

/// Nobody could get a task more without another's losing one. Whole tasks need no slack for that.
fn nothing_is_left_that_anyone_could_use(market: &Market, division: Division) -> TestCaseResult {
    let got = market.fill(division);
    let lacks = |wish: &Wish| {
        let used = |resource: usize| -> u64 {
            let all = market.wishes.iter().zip(&got);
            all.map(|(wish, n_tasks)| wish.demand[resource] * n_tasks)
                .sum()
        };
        let mut resources = market.capacity.iter().enumerate();
        resources.any(|(place, capacity)| used(place) + wish.demand[place] > *capacity)
    };
    prop_assert!(market.wishes.iter().all(lacks), "{got:?}");
    Ok(())
}

/// Who says that its tasks need something else than they do gains at most D'/(1 − D') of what it had, and
/// (1 + ρ) · δ'/δ tasks: y ≤ x/(1 − D') + (1 + ρ) · δ'_i/δ_i. Here everybody demands everything, D' is D and the
/// largest δ, and ρ the largest ratio between two demands, so that after the first queue is blocked nobody gets more
/// than ρ tasks. Let R_r be the sum of w_k · d_kr/δ_k and λ* the least 1/R_r: what divisible tasks reach. Told the
/// truth, keys are at least λ* · (1 − D') when the first queue is blocked, by (1) and (2). Lied to, they reach some λ'.
/// Where that is at most λ*, the liar's share is at most w_i · λ* + (1 + ρ) · δ'_i; where it is more, others have so much
/// of the resource with the least 1/R_r that it leaves the liar no more than λ* · w_i/δ_i tasks need.
fn lying_does_not_pay(
    market: &Market,
    liar: Index,
    lie: &[u64],
    division: Division,
) -> TestCaseResult {
    let liar = liar.index(market.wishes.len());
    let mut lying = market.clone();
    lying.wishes[liar]
        .demand
        .copy_from_slice(&lie[..market.capacity.len()]);
    let honest = whole(market.fill(division)[liar]);
    let n_bundles = whole(lying.fill(division)[liar]);
    let parts = lying.parts(&lying.wishes[liar].demand).into_iter();
    let bundle: Vec<_> = parts.map(|part| part * n_bundles).collect();
    let few = (whole(1) + lying.ratio()) * lying.task(liar) / market.task(liar);
    let useful = market.n_useful(liar, &bundle);
    at_most(
        useful,
        honest / (whole(1) - market.loss()) + few,
        (liar, lie),
    )
}

/// Where a queue leaves, nobody gets less than before, but for x · D' + (1 + ρ) tasks: with the words of the
/// property before, λ* can only grow, what is reached is at least λ* · (1 − D'), and was at most λ* and 1 + ρ tasks.
fn who_leaves_takes_nothing_from_others(
    market: &Market,
    leaver: Index,
    division: Division,
) -> TestCaseResult {
    let leaver = leaver.index(market.wishes.len());
    let mut before = market.fill(division);
    before.remove(leaver);
    let mut rest = market.clone();
    rest.wishes.remove(leaver);
    let after = rest.fill(division);
    let few = whole(1) + market.ratio();
    for (before, after) in before.iter().zip(&after) {
        at_most(
            whole(*before),
            whole(*after) / (whole(1) - rest.loss()) + few,
            leaver,
        )?;
    }
    Ok(())
}

fn lies() -> impl Strategy<Value = Vec<u64>> {
    vec(1..9_u64, 3)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn sharing_pays_under_drf(market in markets(0)) {
        sharing_pays(&market, Division::Drf)?;
    }

    #[test]
    fn nobody_envies_another_under_drf(market in markets(0)) {
        nobody_envies_another(&market, Division::Drf)?;
    }

    /// The policies that rank queues are all Pareto efficient, `fifo` too: whoever could go does, whatever the order.
    #[test]
    fn nothing_is_left_that_anyone_could_use_under_any_ranking(market in markets(0)) {
        for division in [Division::Drf, Division::Fifo, Division::Weighted, Division::Assets] {
            nothing_is_left_that_anyone_could_use(&market, division)?;
        }
    }

    #[test]
    fn lying_does_not_pay_under_drf(market in markets(1), liar in any::<Index>(), lie in lies()) {
        lying_does_not_pay(&market, liar, &lie, Division::Drf)?;
    }

    /// Where everybody demands everything, this holds of any ranking whose keys grow with use, and where keys never
    /// change: all are blocked at about the same level, or only the first gets anything, and without somebody that level
    /// is reached later. (Where some demand nothing of a resource, even DRF for divisible tasks doesn't have it: two queues
    /// that want cpus and one that wants as much of both leave 2/3 of the memory to a fourth, and one of the two less, 1/2.)
    #[test]
    fn who_leaves_takes_nothing_from_others_under_drf_and_fifo(market in markets(1), leaver in any::<Index>()) {
        for division in [Division::Drf, Division::Fifo] {
            who_leaves_takes_nothing_from_others(&market, leaver, division)?;
        }
    }
}

/// Whether a property fails somewhere in some hundreds of cases, the same each time.
fn fails<S: Strategy>(cases: &S, property: impl Fn(S::Value) -> TestCaseResult) -> bool {
    let config = ProptestConfig {
        cases: 300,
        failure_persistence: None,
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    };
    let rng = TestRunner::deterministic().new_rng();
    let result = TestRunner::new_with_rng(config, rng).run(cases, property);
    matches!(result, Err(TestError::Fail(..)))
}

/// Each property tells policies apart: there is one without it. As the paper's table 2 has it, asset fairness doesn't
/// make sharing pay.
#[test]
fn each_property_fails_where_it_should() {
    use Division::{Assets, Drf, Fickle, Fifo, FixedParts, Weighted};
    assert!(!fails(&markets(0), |market| sharing_pays(&market, Drf)));
    for division in [Fifo, Weighted, Assets] {
        let sharing = |market| sharing_pays(&market, division);
        assert!(fails(&markets(0), sharing), "sharing under {division:?}");
    }
    for division in [Fifo, Weighted] {
        let envy = |market| nobody_envies_another(&market, division);
        assert!(fails(&markets(0), envy), "envy under {division:?}");
    }
    let lying = |(market, liar, lie): (Market, Index, Vec<u64>)| {
        lying_does_not_pay(&market, liar, &lie, Weighted)
    };
    assert!(fails(&(markets(1), any::<Index>(), lies()), lying), "lying");
    let idle = |market| nothing_is_left_that_anyone_could_use(&market, FixedParts);
    assert!(fails(&markets(0), idle), "nothing is left");
    let leaving = |(market, leaver): (Market, Index)| {
        who_leaves_takes_nothing_from_others(&market, leaver, Fickle)
    };
    assert!(fails(&(markets(1), any::<Index>()), leaving), "leaving");
}
