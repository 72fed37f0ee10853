//! Amounts, weights, demands, shares.

use apportion_policies::amount::ParseAmountError;
use apportion_policies::{
    Amount, Amounts, Demand, Fraction, ResourceId, ShapeId, ShapeSet, Share, Weight,
};
use proptest::prelude::*;

fn amount(text: &str) -> Amount {
    text.parse().unwrap()
}

#[test]
fn amounts_are_read_and_written_as_decimals() {
    for (text, milli, written) in [
        ("2", 2000, "2"),
        ("0.5", 500, "0.5"),
        (".25", 250, "0.25"),
        ("1.", 1000, "1"),
        ("0.0010", 1, "0.001"),
        ("281474976710.655", (1 << 48) - 1, "281474976710.655"),
    ] {
        assert_eq!(amount(text).milli(), milli, "{text}");
        assert_eq!(amount(text).to_string(), written);
    }
}

#[test]
fn what_is_no_amount_is_refused_with_its_reason() {
    let refused = |text: &str| text.parse::<Amount>().unwrap_err();
    for text in ["", ".", "-1", "+1", "1e3", "1 ", "1.2.3", "½"] {
        assert_eq!(
            refused(text),
            ParseAmountError::NotANumber(text.to_owned()),
            "{text}"
        );
    }
    assert_eq!(
        refused("0.0001"),
        ParseAmountError::TooFine("0.0001".to_owned())
    );
    for text in [
        "281474976710.656",
        "99999999999999999999",
        "18446744073709551.616",
    ] {
        assert_eq!(
            refused(text),
            ParseAmountError::TooLarge(text.to_owned()),
            "{text}"
        );
    }
}

#[test]
fn weights_are_above_zero_and_one_by_default() {
    assert_eq!(Weight::default(), "1".parse().unwrap());
    assert_eq!("0.5".parse::<Weight>().unwrap().milli(), 500);
    assert_eq!("0.50".parse::<Weight>().unwrap().to_string(), "0.5");
    assert_eq!("0".parse::<Weight>(), Err(ParseAmountError::ZeroWeight));
    assert!(matches!(
        "4294968".parse::<Weight>(),
        Err(ParseAmountError::TooLarge(_))
    ));
}

#[test]
fn amounts_never_pass_their_bound() {
    let one = Amount::from_milli(1).unwrap();
    assert_eq!(Amount::from_milli(1 << 48), None);
    assert_eq!(Amount::from_units(u64::MAX), None);
    assert_eq!(Amount::MAX.checked_add(one), None);
    assert_eq!(Amount::MAX.saturating_add(one), Amount::MAX);
    assert_eq!(Amount::ZERO.checked_sub(one), None);
    assert_eq!(Amount::ZERO.saturating_sub(one), Amount::ZERO);
}

#[test]
fn a_demand_names_each_resource_once_and_never_zero() {
    let [first, second, third] = [0, 1, 2].map(ResourceId::new);
    let pairs = [
        (third, amount("1")),
        (first, amount("5")),
        (second, amount("0")),
        (first, amount("2")),
    ];
    let demand = Demand::new(pairs);
    assert_eq!(
        demand.iter().collect::<Vec<_>>(),
        [(first, amount("2")), (third, amount("1"))]
    );
    assert_eq!(demand.get(third), amount("1"));
    assert!(demand.get(second).is_zero());
    assert!(Demand::new([(first, Amount::ZERO)]).is_empty());
}

#[test]
fn amounts_grow_with_the_resources_and_give_back_what_they_took() {
    let late = ResourceId::new(7);
    let demand = Demand::new([(late, amount("3"))]);
    let mut used = Amounts::zero(1);
    assert!(!used.hold(&demand));
    used.add(&demand);
    assert!(used.hold(&demand));
    assert_eq!(used.iter().last(), Some((late, amount("3"))));
    used.subtract(&demand);
    assert!(used.get(late).is_zero());
}

#[test]
#[should_panic(expected = "no more is given back than was taken")]
fn giving_back_twice_is_a_broken_invariant() {
    Amounts::default().subtract(&Demand::new([(ResourceId::new(0), amount("1"))]));
}

#[test]
fn equal_shares_are_equal() {
    let third = Share::new(amount("1"), amount("3"));
    assert_eq!(third, Share::new(amount("2"), amount("6")));
    assert_ne!(third, Share::new(amount("2"), amount("5")));
    assert_eq!(Share::new(amount("2"), amount("6")).to_string(), "1/3");
    assert_eq!(Share::new(amount("1"), Amount::ZERO), Share::ZERO);
    assert_eq!(Share::ZERO.to_string(), "0");
    assert_eq!(
        third.per("2".parse().unwrap()),
        Share::new(amount("2"), amount("3")).per("4".parse().unwrap())
    );
}

#[test]
fn the_largest_shares_compare_without_overflow() {
    let heavy = Weight::from_milli(u32::MAX).unwrap();
    let one = Amount::from_milli(1).unwrap();
    assert!(Share::new(Amount::MAX, one).per(heavy) > Share::new(one, Amount::MAX).per(heavy));
    assert_eq!(
        Share::new(Amount::MAX, Amount::MAX)
            .per(heavy)
            .cmp(&Share::new(one, one).per(heavy)),
        std::cmp::Ordering::Equal
    );
}

#[test]
fn how_far_shares_are_apart_is_a_share() {
    let share = |part, total| Share::new(amount(part), amount(total));
    let apart = share("1", "3").apart(share("1", "2"));
    assert!((apart.as_f64() - 1.0 / 6.0).abs() < 1e-12, "{apart}");
    assert_eq!(apart, share("1", "2").apart(share("1", "3")));
    assert_eq!(share("2", "6").apart(share("1", "3")), Share::ZERO);
    let two: Weight = "2".parse().unwrap();
    let weighed = share("1", "1").per(two).apart(Share::ZERO);
    assert!(
        (weighed.as_f64() - 0.0005).abs() < 1e-12,
        "a weight is in thousandths"
    );
}

#[test]
fn sets_of_shapes_hold_what_was_put_in() {
    let mut set = ShapeSet::default();
    let (low, high) = (ShapeId::new(3), ShapeId::new(200));
    set.insert(high);
    assert!(set.contains(high) && !set.contains(low) && !set.contains(ShapeId::new(9999)));
    set.remove(high);
    set.remove(ShapeId::new(9999));
    assert!(set.is_empty());
}

#[test]
fn a_union_holds_what_is_in_one_of_two_sets_or_in_both() {
    let set = |shapes: &[usize]| {
        let mut set = ShapeSet::default();
        shapes
            .iter()
            .for_each(|shape| set.insert(ShapeId::new(*shape)));
        set
    };
    let mut union = set(&[5]);
    union.set_union(&set(&[1, 2, 200]), &set(&[2, 3]));
    let shapes = (0..256).filter(|shape| union.contains(ShapeId::new(*shape)));
    assert_eq!(shapes.collect::<Vec<_>>(), [1, 2, 3, 200]);
}

#[test]
fn fractions_are_told_as_decimals() {
    let fraction = Fraction { part: 3, whole: 4 };
    assert!((fraction.as_f64() - 0.75).abs() < 1e-12);
}

proptest! {
    #[test]
    fn amounts_come_back_from_their_text(milli in 0..1_u64 << 48) {
        let amount = Amount::from_milli(milli).unwrap();
        prop_assert_eq!(amount.to_string().parse::<Amount>().unwrap(), amount);
    }

    #[test]
    fn shares_compare_as_their_fractions(a in 0..100_u64, b in 1..100_u64, c in 0..100_u64, d in 1..100_u64) {
        let share = |part, whole| {
            Share::new(Amount::from_units(part).unwrap(), Amount::from_units(whole).unwrap())
        };
        prop_assert_eq!(share(a, b).cmp(&share(c, d)), (a * d).cmp(&(c * b)));
    }
}
