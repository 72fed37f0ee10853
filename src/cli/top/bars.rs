//! A share as a bar of text, with a mark where the entitlement is.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

/// The eighths of a cell.
const EIGHTHS: [&str; 8] = [" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// A bar of `width` cells for `share` (0 to 1), marked at `due`.
pub(super) fn bar(share: f64, due: Option<f64>, width: usize) -> Vec<Span<'static>> {
    let colour = match due {
        Some(due) if share > due * 1.05 + 1e-9 => Color::Yellow,
        _ => Color::Green,
    };
    let full = Style::new().fg(colour).bg(Color::DarkGray);
    // Rounded to eighths of a cell; what is there at all is seen.
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    let eighths = if share > 0.0 { eighths.max(1) } else { 0 };
    let mark = due.map(|due| (due.clamp(0.0, 1.0) * width as f64) as usize);
    let mark = mark.map(|place| place.min(width.saturating_sub(1)));
    (0..width)
        .map(|cell| {
            if mark == Some(cell) {
                return Span::styled("│", full.fg(Color::White).add_modifier(Modifier::BOLD));
            }
            match eighths.saturating_sub(cell * 8) {
                filled @ 0..8 => Span::styled(EIGHTHS[filled], full),
                _ => Span::styled("█", full),
            }
        })
        .collect()
}

/// `45%`, `0.4%`, right-aligned in five cells.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 9.95 {
        format!("{percent:>4.1}%")
    } else {
        format!("{percent:>4.0}%")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(share: f64, due: Option<f64>) -> String {
        bar(share, due, 8)
            .iter()
            .map(|span| span.content.as_ref())
            .collect()
    }

    #[test]
    fn bars_fill_by_eighths_and_mark_what_is_due() {
        assert_eq!(text(0.0, None), "        ");
        assert_eq!(text(0.001, None), "▏       ");
        assert_eq!(text(0.5, None), "████    ");
        assert_eq!(text(0.5 + 1.0 / 64.0, None), "████▏   ");
        assert_eq!(text(1.5, None), "████████");
        assert_eq!(text(0.25, Some(0.5)), "██  │   ");
        assert_eq!(text(1.0, Some(1.0)), "███████│");
        assert_eq!(percent(0.123), "  12%");
        assert_eq!(percent(0.0123), " 1.2%");
    }
}
