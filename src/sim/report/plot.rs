//! Plots as SVG for a page: they take their size from it, and text and lines their colour from the text around.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// The colours of lines, chosen to be told apart on light and dark ground.
pub(super) const COLOURS: [RGBColor; 6] = [
    RGBColor(37, 126, 214),
    RGBColor(222, 110, 30),
    RGBColor(30, 150, 105),
    RGBColor(196, 66, 128),
    RGBColor(130, 100, 210),
    RGBColor(160, 130, 40),
];

/// Stands for the colour of the text around; no line has it.
const INK: RGBColor = RGBColor(1, 2, 3);
/// How it is written.
const INK_HEX: &str = "#010203";

/// What a plot's marks on the axis of time are.
pub(super) struct TimeAxis {
    /// The whole time, in the unit.
    pub(super) length: f64,
    /// `days`, `hours`, …
    pub(super) unit: &'static str,
}

impl TimeAxis {
    pub(super) fn new(millis: u64) -> Self {
        let seconds = millis as f64 / 1000.0;
        let units = [("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)];
        let fitting = units
            .into_iter()
            .find(|(_, length)| seconds >= 3.0 * length);
        let (unit, length) = fitting.unwrap_or(("seconds", 1.0));
        Self {
            length: seconds / length,
            unit,
        }
    }
}

/// A line of a plot.
pub(super) struct Line<'a> {
    pub(super) numbers: &'a [f64],
    pub(super) colour: RGBColor,
}

/// How large a plot is drawn; the page then scales it.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) width: u32,
    pub(super) height: u32,
}

/// For the width of a desk.
pub(super) const WIDE: Size = Size {
    width: 1040,
    height: 230,
};
/// For a phone, or one of several beside each other.
pub(super) const NARROW: Size = Size {
    width: 340,
    height: 170,
};

/// Lines over time, of parts of 1.
pub(super) fn lines(lines: &[Line<'_>], time: &TimeAxis, size: Size) -> String {
    let largest = lines.iter().flat_map(|line| line.numbers.iter().copied());
    let top = top(largest.fold(0.0, f64::max));
    draw(time, size, top, |chart| {
        for line in lines {
            let points = steps(line.numbers, time.length);
            chart.draw_series(LineSeries::new(points, line.colour.stroke_width(2)))?;
        }
        Ok(())
    })
}

/// What a queue used as an area, and what it was due as a line.
pub(super) fn share_and_due(
    share: &[f64],
    due: &[f64],
    top_of_all: f64,
    colour: RGBColor,
    time: &TimeAxis,
) -> String {
    let (share, due) = (halved(share), halved(due));
    draw(time, NARROW, top(top_of_all), |chart| {
        let area = steps(&share, time.length);
        let fill = colour.mix(0.35).filled();
        chart.draw_series(AreaSeries::new(area, 0.0, fill).border_style(colour.stroke_width(1)))?;
        let due = steps(&due, time.length);
        chart.draw_series(LineSeries::new(due, INK.mix(0.7).stroke_width(1)))?;
        Ok(())
    })
}

/// The mean of each two pieces: a small plot can't show more.
fn halved(numbers: &[f64]) -> Vec<f64> {
    let pairs = numbers.chunks(2);
    pairs.map(super::mean).collect()
}

/// A little above the largest, at most 1 where shares end there anyway.
fn top(largest: f64) -> f64 {
    let steps = [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0];
    let fitting = steps.into_iter().find(|step| largest <= *step);
    fitting.unwrap_or_else(|| largest.ceil())
}

/// The middle of each piece of time, with its number.
fn steps(numbers: &[f64], length: f64) -> impl Iterator<Item = (f64, f64)> {
    let width = length / numbers.len().max(1) as f64;
    let numbered = numbers.iter().copied().enumerate();
    numbered.map(move |(place, number)| ((place as f64 + 0.5) * width, number))
}

type Chart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn draw(
    time: &TimeAxis,
    size: Size,
    top: f64,
    series: impl FnOnce(&mut Chart<'_, '_>) -> Drawn,
) -> String {
    let mut svg = String::new();
    let drawn = draw_in(&mut svg, time, size, top, series);
    // The backend writes into memory and so can't fail; a plot of nothing would still be a page.
    if drawn.is_err() {
        svg.clear();
    }
    adapt(&svg, size)
}

fn draw_in(
    svg: &mut String,
    time: &TimeAxis,
    size: Size,
    top: f64,
    series: impl FnOnce(&mut Chart<'_, '_>) -> Drawn,
) -> Drawn {
    let root = SVGBackend::with_string(svg, (size.width, size.height)).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin(4)
        .margin_top(10)
        .margin_right(14)
        .x_label_area_size(34)
        .y_label_area_size(44)
        .build_cartesian_2d(0.0..time.length.max(f64::MIN_POSITIVE), 0.0..top)?;
    let font = ("sans-serif", 12).into_font().color(&INK);
    let decimals = if top < 0.1 { 1 } else { 0 };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.mix(0.15))
        .axis_style(INK.mix(0.5))
        .label_style(font.clone())
        .axis_desc_style(font.clone().pos(Pos::new(HPos::Center, VPos::Bottom)))
        .x_desc(time.unit)
        .x_labels(if size.width > 500 { 12 } else { 5 })
        .y_labels(4)
        .x_label_formatter(&|at| format!("{at:.0}"))
        .y_label_formatter(&|part| format!("{:.decimals$}%", part * 100.0))
        .draw()?;
    series(&mut chart)?;
    root.present()
}

/// Makes a drawing a part of the page: it scales, and its ink is the page's.
fn adapt(svg: &str, size: Size) -> String {
    let (width, height) = (size.width, size.height);
    let sized = format!("<svg width=\"{width}\" height=\"{height}\"");
    svg.replacen(&sized, "<svg role=\"img\"", 1)
        .replace(INK_HEX, "currentColor")
}
