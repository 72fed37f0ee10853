//! The ways in which `reference` can be told to do hierarchical DRF wrong.

/// A clause of the definition left out or done otherwise, to show what it is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// A queue is blocked only if it wants something of which nothing at all is left.
    BlockedOnlyIfUsedUp,
    /// A queue is blocked only if its task is more than all there is.
    BlockedOnlyByTotals,
    /// A queue at its `max` isn't blocked.
    MaxDoesNotBlock,
    /// All children that wait are measures.
    AllThatWaitAreMeasures,
    /// A share below one task counts as it is.
    NothingCountsAsNothing,
    /// Children without a share are no measures.
    NothingIsLeftOut,
    /// Children are scaled without their weights.
    WeightsDoNotScale,
    /// Blocked children that wait count in full.
    BlockedCountInFull,
    /// A child that can't go may count for more than it uses.
    MoreThanIsUsed,
    /// Every resource counts.
    NothingIsSaturated,
    /// A resource is saturated if nobody in the whole tree who wants it can go.
    SaturatedForAll,
    /// A resource counts only if a child that can go wants it.
    OnlyWhatIsWantedCounts,
    /// What fills a guarantee is scaled down.
    GuaranteesAreScaled,
    /// Children are scaled to what the least would have with one task more, though they don't have that.
    OneTaskMore,
    /// What the next task wants most of counts in full, unscaled.
    NextTaskInFull,
    /// The scaling of a queue by which those above are scaled looks at its leaves only.
    StandingOfLeavesOnly,
    /// What a queue gives to the sums above isn't scaled at all.
    StandingIsUnscaled,
}

impl Wrong {
    pub const ALL: [Self; 17] = [
        Self::BlockedOnlyIfUsedUp,
        Self::BlockedOnlyByTotals,
        Self::MaxDoesNotBlock,
        Self::AllThatWaitAreMeasures,
        Self::NothingCountsAsNothing,
        Self::NothingIsLeftOut,
        Self::WeightsDoNotScale,
        Self::BlockedCountInFull,
        Self::MoreThanIsUsed,
        Self::NothingIsSaturated,
        Self::SaturatedForAll,
        Self::OnlyWhatIsWantedCounts,
        Self::GuaranteesAreScaled,
        Self::OneTaskMore,
        Self::NextTaskInFull,
        Self::StandingOfLeavesOnly,
        Self::StandingIsUnscaled,
    ];
}
