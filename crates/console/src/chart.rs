//! Bars, drawn on the server: shapes without text, so that they may be stretched to any width. Texts stand around them,
//! and the same numbers in a table below.

use std::borrow::Borrow;
use std::fmt::Write;

use tollgate_domain::Amount;

/// What a bar stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It was counted.
    Counted,
    /// It is expected.
    Expected,
}

/// One bar of a chart.
#[derive(Clone, Debug)]
pub struct Bar {
    /// When.
    pub label: String,
    /// How much.
    pub value: Amount,
    /// Whether it was or will be.
    pub mark: Mark,
}

/// A bar for each of some days or months.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// What is shown, in a sentence.
    pub caption: String,
    /// What is counted, in the singular.
    pub unit: String,
    /// The bars, from left to right.
    pub bars: Vec<Bar>,
}

/// Width of a bar with the gap behind it, in units of the drawing.
const STEP: usize = 10;
/// Width of a bar.
const WIDTH: usize = 8;
/// Height of the drawing.
const HEIGHT: i128 = 1_000;

impl Chart {
    /// The highest of the bars.
    pub(crate) fn highest(&self) -> Amount {
        self.bars.iter().map(|bar| bar.value).max().unwrap_or_default()
    }

    /// Whether there is anything to see.
    pub(crate) fn is_empty(&self) -> bool {
        !self.highest().is_positive()
    }

    /// Whether some of it is yet to come.
    pub(crate) fn expects(&self) -> bool {
        self.bars.iter().any(|bar| bar.mark == Mark::Expected && bar.value.is_positive())
    }

    /// The label of the first bar.
    pub(crate) fn first(&self) -> &str {
        self.bars.first().map_or("", |bar| bar.label.as_str())
    }

    /// The label of the last bar.
    pub(crate) fn last(&self) -> &str {
        self.bars.last().map_or("", |bar| bar.label.as_str())
    }

    /// The drawing, which holds no text but numbers and labels of periods.
    pub(crate) fn drawing(&self) -> String {
        let mut drawing = String::new();
        let _ = write!(
            drawing,
            "<svg class=\"bars\" viewBox=\"0 0 {} {HEIGHT}\" preserveAspectRatio=\"none\" aria-hidden=\"true\" \
             focusable=\"false\">",
            self.bars.len() * STEP
        );
        let highest = self.highest().billionths().max(1);
        for (place, bar) in self.bars.iter().enumerate() {
            let share = bar.value.billionths().max(0).saturating_mul(HEIGHT) / highest;
            // What is little is seen all the same.
            let height = if bar.value.is_positive() { share.clamp(8, HEIGHT) } else { 0 };
            let class = match bar.mark {
                Mark::Counted => "counted",
                Mark::Expected => "expected",
            };
            let _ = write!(
                drawing,
                "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{WIDTH}\" height=\"{height}\"/>",
                place * STEP + (STEP - WIDTH) / 2,
                HEIGHT - height
            );
        }
        drawing.push_str("</svg>");
        drawing
    }
}

/// A bar of how much of something is used, in percent.
pub(crate) fn gauge(percent: impl Borrow<i128>) -> String {
    let percent = *percent.borrow();
    let class = match percent {
        ..80 => "fine",
        80..100 => "near",
        _ => "out",
    };
    let width = percent.clamp(0, 100);
    format!(
        "<svg class=\"gauge {class}\" viewBox=\"0 0 100 1\" preserveAspectRatio=\"none\" aria-hidden=\"true\" \
         focusable=\"false\"><rect width=\"{width}\" height=\"1\"/></svg>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_bar_fills_the_drawing_and_the_smallest_is_seen() {
        let bar =
            |value, mark| Bar { label: "2026-11-01".to_owned(), value: Amount::from_whole(value), mark };
        let bars = vec![bar(0, Mark::Counted), bar(1, Mark::Counted), bar(1_000_000, Mark::Expected)];
        let chart = Chart { bars, ..Chart::default() };
        let drawing = chart.drawing();
        let heights = ["height=\"0\"", "height=\"8\"", "height=\"1000\""];
        assert!(heights.iter().all(|height| drawing.contains(height)), "{drawing}");
        assert!(chart.expects() && !chart.is_empty() && Chart::default().is_empty());
    }

    #[test]
    fn a_gauge_ends_at_its_end() {
        for (percent, class, width) in
            [(-3, "fine", 0), (79, "fine", 79), (80, "near", 80), (100, "out", 100), (900, "out", 100)]
        {
            let gauge = gauge(percent);
            assert!(
                gauge.contains(&format!("gauge {class}")) && gauge.contains(&format!("width=\"{width}\"")),
                "{gauge}"
            );
        }
    }
}
