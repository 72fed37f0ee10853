//! The figures, as an aligned table and as JSON.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

/// What a figure should reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// The value is at least this.
    AtLeast(f64),
    /// The value is below this.
    Below(f64),
    /// Value over floor is at most this.
    RatioAtMost(f64),
}

/// One figure.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Which part of the run.
    pub(crate) section: &'static str,
    /// What was measured.
    pub(crate) what: String,
    /// How much.
    pub(crate) value: f64,
    /// Of what.
    pub(crate) unit: &'static str,
    /// What the machine does without the daemon, in the same unit, with its name.
    pub(crate) floor: Option<(f64, String)>,
    /// What to reach.
    pub(crate) goal: Option<Goal>,
    /// Everything else worth knowing.
    pub(crate) notes: Vec<(&'static str, f64, &'static str)>,
}

impl Figure {
    /// A figure without floor, goal and notes.
    pub(crate) fn new(
        section: &'static str,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
    ) -> Self {
        Self {
            section,
            what: what.into(),
            value,
            unit,
            floor: None,
            goal: None,
            notes: Vec::new(),
        }
    }

    /// With a floor.
    pub(crate) fn beside(mut self, floor: f64, name: impl Into<String>) -> Self {
        self.floor = Some((floor, name.into()));
        self
    }

    /// With a goal.
    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    /// With one thing more.
    pub(crate) fn note(mut self, name: &'static str, value: f64, unit: &'static str) -> Self {
        self.notes.push((name, value, unit));
        self
    }

    fn ratio(&self) -> Option<f64> {
        let floor = self.floor.as_ref().map(|(floor, _)| *floor);
        floor
            .filter(|floor| *floor != 0.0)
            .map(|floor| self.value / floor)
    }

    fn is_reached(&self) -> Option<bool> {
        Some(match self.goal? {
            Goal::AtLeast(least) => self.value >= least,
            Goal::Below(bound) => self.value < bound,
            Goal::RatioAtMost(most) => self.ratio()? <= most,
        })
    }

    fn goal_text(&self) -> String {
        let wanted = match self.goal {
            Some(Goal::AtLeast(least)) => format!(">= {}", number(least)),
            Some(Goal::Below(bound)) => format!("< {}", number(bound)),
            Some(Goal::RatioAtMost(most)) => format!("<= {most} x"),
            None => return String::new(),
        };
        match self.is_reached() {
            Some(true) => format!("{wanted} yes"),
            _ => format!("{wanted} NO"),
        }
    }

    fn json(&self) -> Value {
        let notes: serde_json::Map<_, _> = self
            .notes
            .iter()
            .map(|(name, value, unit)| ((*name).to_owned(), json!({"value": value, "unit": unit})))
            .collect();
        json!({
            "section": self.section, "what": self.what, "value": self.value, "unit": self.unit,
            "floor": self.floor.as_ref().map(|(value, name)| json!({"value": value, "name": name})),
            "ratio": self.ratio(), "reached": self.is_reached(), "goal": self.goal_text(), "notes": notes,
        })
    }
}

/// Four significant digits at most, thousands apart.
pub(crate) fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 100.0 {
        let digits = 3 - value.abs().log10().floor().clamp(-6.0, 2.0) as i32;
        let text = format!("{value:.*}", usize::try_from(digits - 1).unwrap_or(0));
        return text;
    }
    let whole = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// All figures of a run, in order.
#[derive(Debug, Default)]
pub(crate) struct Report {
    figures: Vec<Figure>,
}

impl Report {
    /// Takes one more.
    pub(crate) fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// The value of a figure that was measured before.
    pub(crate) fn find(&self, what: &str) -> Option<f64> {
        let figure = self.figures.iter().find(|figure| figure.what == what)?;
        Some(figure.value)
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header([
            "part", "what", "measured", "unit", "floor", "of", "ratio", "goal", "besides",
        ]);
        for figure in &self.figures {
            let notes: Vec<String> = figure
                .notes
                .iter()
                .map(|(name, value, unit)| format!("{name} {} {unit}", number(*value)))
                .collect();
            let floor = figure.floor.as_ref();
            table.add_row([
                figure.section.to_owned(),
                figure.what.clone(),
                number(figure.value),
                figure.unit.to_owned(),
                floor.map_or_else(String::new, |(value, _)| number(*value)),
                floor.map_or_else(String::new, |(_, name)| name.clone()),
                figure
                    .ratio()
                    .map_or_else(String::new, |ratio| format!("{ratio:.3}")),
                figure.goal_text(),
                notes.join(", "),
            ]);
        }
        for column in [2, 4, 6] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.to_string()
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        let figures: Vec<_> = self.figures.iter().map(Figure::json).collect();
        format!("{:#}\n", json!({ "figures": figures }))
    }
}

/// The least, the middle and the most of a figure.
///
/// # Panics
/// If nothing was taken.
pub(crate) fn spread<T>(taken: &[T], of: fn(&T) -> f64) -> [f64; 3] {
    let mut values: Vec<f64> = taken.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    [
        values[0],
        values[values.len() / 2],
        values[values.len() - 1],
    ]
}
