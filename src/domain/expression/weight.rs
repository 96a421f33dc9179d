//! How much a value can weigh: the units it takes to copy or compare it once.

/// The weight of any value, and the cost of any step.
pub(super) const NODE: u64 = 8;

/// The most a value can weigh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// How many items it can have, if it is a list or map.
    pub(super) items: u64,
    /// The heaviest item. Of a shapeless value: twice what an item weighs if all weigh the same.
    pub(super) each: u64,
    /// All of it.
    pub(super) total: u64,
    /// Whether nothing is known of its shape: any part of it may be all of it.
    pub(super) shapeless: bool,
}

impl Weight {
    /// A value of fixed size.
    pub(crate) const SMALL: Self = Self::scalar(NODE);

    pub(super) const fn scalar(total: u64) -> Self {
        Self { items: 0, each: 0, total, shapeless: false }
    }

    const fn list(items: u64, each: u64) -> Self {
        Self { items, each, total: NODE + items * each, shapeless: false }
    }

    /// A text of at most so many characters, of at most four bytes.
    pub(crate) const fn chars(count: usize) -> Self {
        Self::scalar(text(4 * count))
    }

    /// A list of at most so many texts of at most so many characters.
    pub(crate) const fn texts(items: u64, count: usize) -> Self {
        Self::list(items, text(4 * count))
    }

    /// Whatever another side sends: at most so many values in each other, with at most so many bytes of texts in all.
    ///
    /// A macro over it runs as often as there can be values, over items of twice the average weight. That is a bound although
    /// one item may be nearly all of it, because each step's cost grows at most with an item's weight: of `max(c, w)`, summed
    /// over all items, never more than twice the average's comes.
    pub(crate) const fn shapeless(values: u64, bytes: usize) -> Self {
        let total = values * NODE + text(bytes);
        Self { items: values, each: 2 * total.div_ceil(values), total, shapeless: true }
    }

    pub(super) const fn is_shapeless(self) -> bool {
        self.shapeless
    }

    /// Any one of its items; nothing is known about that but how heavy it is.
    pub(super) fn item(self) -> Self {
        if self.shapeless { self } else { self.each_of_all() }
    }

    /// What each of its items weighs, where all are gone through.
    pub(super) fn each_of_all(self) -> Self {
        let each = self.each.max(NODE);
        Self { items: each / NODE, each, total: each, shapeless: false }
    }

    /// The same, shapeless if that is: made of its items, of which one may be nearly all of it.
    pub(super) fn as_shaped_as(self, other: Self) -> Self {
        Self { shapeless: self.shapeless || other.shapeless, ..self }
    }

    /// Both together, as `+` makes of lists and texts.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            items: self.items.saturating_add(other.items),
            each: self.each.max(other.each),
            total: self.total.saturating_add(other.total),
            shapeless: self.shapeless || other.shapeless,
        }
    }

    /// Either of the two.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            items: self.items.max(other.items),
            each: self.each.max(other.each),
            total: self.total.max(other.total),
            shapeless: self.shapeless || other.shapeless,
        }
    }

    pub(super) fn times(self, times: u64) -> Self {
        Self { items: self.items.saturating_mul(times), total: self.total.saturating_mul(times), ..self }
    }
}

/// The weight of a text of so many bytes.
pub(super) const fn text(bytes: usize) -> u64 {
    NODE + bytes as u64 / 16
}
