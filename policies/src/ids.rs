//! Dense ids of queues, resources and shapes. Names are resolved to ids at the edge, once.

macro_rules! dense_id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name($int);

        impl $name {
            /// The id with this index.
            ///
            /// # Panics
            /// If the index is beyond the id's integer, which an own invariant rules out.
            #[must_use]
            pub fn new(index: usize) -> Self {
                Self(<$int>::try_from(index).expect("an index of a dense id fits its integer"))
            }

            /// The place in a vector that holds one entry per id.
            #[must_use]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

dense_id!(
    /// A node of the queue tree. The root has index 0.
    QueueId(u32)
);
dense_id!(
    /// A resource, host or cluster scope.
    ResourceId(u16)
);
dense_id!(
    /// A shape: one demand with one set of constraints. Tasks of one shape are interchangeable to
    /// the question "does it fit?". The ids of shapes that no task has any more are used again.
    ShapeId(u32)
);
