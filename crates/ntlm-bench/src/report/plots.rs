//! Plots as SVG: bars, lines and ranges in panels side by side, with NGINX's own keep-alive as the reference in each.
//!
//! A plot must be legible on a dark page too: it has a white ground of its own.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// The part that a bar or a line has in a comparison. It decides the color.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The module's.
    Ours,
    /// NGINX's own keep-alive.
    Reference,
    /// Neither.
    Other,
    /// Neither, and a second one.
    Another,
}

impl Role {
    fn color(self) -> RGBColor {
        match self {
            Self::Ours => RGBColor(9, 105, 218),
            Self::Reference => RGBColor(60, 66, 73),
            Self::Other => RGBColor(191, 135, 0),
            Self::Another => RGBColor(130, 80, 223),
        }
    }
}

const INK: RGBColor = RGBColor(36, 41, 47);
const FAINT: RGBColor = RGBColor(225, 228, 232);
const WIDTH: u32 = 900;
/// A row of bars, in pixels.
const ROW: u32 = 34;
/// Pixels above and below the rows.
const AROUND: u32 = 104;
/// Pixels for the names of rows.
const NAMES: u32 = 150;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Bars from zero, or ranges, one for each name.
pub struct Rows {
    /// Above the panel.
    pub title: String,
    /// Below the axis: what, in which unit.
    pub axis: String,
    /// Name, role, and one value for a bar, or the two ends of a range.
    pub rows: Vec<(String, Role, Vec<f64>)>,
    /// The axis of ranges is logarithmic.
    pub logarithmic: bool,
}

/// Pairs of a number for the horizontal axis and one for the vertical.
pub type Points = Vec<(f64, f64)>;

/// Lines.
pub struct Lines {
    /// Above the panel.
    pub title: String,
    /// Below the axis.
    pub x_axis: String,
    /// Beside the axis.
    pub y_axis: String,
    /// The numbers of the horizontal axis that have a label.
    pub x_marks: Vec<f64>,
    /// The horizontal axis is logarithmic.
    pub logarithmic: bool,
    /// The ends of the vertical axis.
    pub y_range: (f64, f64),
    /// Digits behind the point of its labels.
    pub digits: usize,
    /// Lines: name, role, points.
    pub lines: Vec<(String, Role, Points)>,
    /// Points without a line.
    pub dots: Points,
    /// A horizontal line, what is said about it, and how far the noise reaches from it.
    pub reference: Option<(String, f64, f64)>,
}

fn style(size: i32, color: &RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(color).pos(Pos::new(h, v))
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

/// Panels side by side.
fn panels(height: u32, count: usize, mut draw: impl FnMut(&Area<'_>, usize) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        for (index, area) in root.split_evenly((1, count)).iter().enumerate() {
            draw(area, index)?;
        }
        root.present().map_err(failed)?;
    }
    Ok(svg + "\n")
}

/// Draws rows in panels. Their axes end at the same number, if `shared`.
pub fn rows(of: &[Rows], shared: bool) -> Result<String> {
    let most = of.iter().map(Rows::most).fold(0.0, f64::max);
    let count = of.iter().map(|panel| panel.rows.len()).max().unwrap_or_default();
    let height = AROUND + ROW * u32::try_from(count)?;
    panels(height, of.len(), |area, index| {
        let Some(panel) = of.get(index) else { return Ok(()) };
        panel.draw(area, if shared { most } else { panel.most() })
    })
}

impl Rows {
    fn most(&self) -> f64 {
        self.rows.iter().flat_map(|row| &row.2).copied().fold(0.0, f64::max)
    }

    fn draw(&self, area: &Area<'_>, most: f64) -> Result<()> {
        let scale = |value: f64| if self.logarithmic { value.log10() } else { value };
        // Of a range, its lower decade.
        let least = self.rows.iter().flat_map(|row| &row.2).copied().fold(f64::MAX, f64::min);
        let start = if self.logarithmic { scale(least).floor() } else { 0.0 };
        // The numbers stand at the right.
        let end = start + (scale(most) - start) * if self.logarithmic { 1.6 } else { 1.28 };
        let height = self.rows.len() as f64;
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, style(17, &INK, HPos::Left, VPos::Top))
            .margin(8)
            .x_label_area_size(44)
            .y_label_area_size(NAMES)
            .build_cartesian_2d(start..end, 0.0..height)
            .map_err(failed)?;
        // A mark for each decade, of which there are few.
        let marks = (1..8).take_while(|decade| start + f64::from(*decade) <= end).count() + 1;
        let marks = if self.logarithmic { marks } else { 5 };
        let unscaled = |value: &f64| number(if self.logarithmic { 10_f64.powf(*value) } else { *value }, 0);
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .y_labels(0)
            .x_labels(marks)
            .x_label_formatter(&unscaled)
            .x_desc(&self.axis)
            .axis_desc_style(style(14, &INK, HPos::Center, VPos::Top))
            .x_label_style(style(13, &INK, HPos::Center, VPos::Top))
            .light_line_style(WHITE)
            .bold_line_style(FAINT)
            .axis_style(INK)
            .draw()
            .map_err(failed)?;
        let reference = self.rows.iter().find(|row| row.1 == Role::Reference).and_then(|row| row.2.last());
        if let Some(value) = reference.map(|value| scale(*value)) {
            dashed(&mut chart, &[(value, 0.0), (value, height)])?;
        }
        for (index, (name, role, values)) in self.rows.iter().enumerate() {
            let middle = height - index as f64 - 0.5;
            let (Some(&first), Some(&last)) = (values.first(), values.last()) else { continue };
            let from = if values.len() > 1 { scale(first) } else { start };
            let (half, color) = (if values.len() > 1 { 0.06 } else { 0.3 }, role.color());
            let bar = Rectangle::new([(from, middle - half), (scale(last), middle + half)], color.filled());
            chart.draw_series([bar]).map_err(failed)?;
            if values.len() > 1 {
                let ends = [first, last].map(|value| Circle::new((scale(value), middle), 6, color.filled()));
                chart.draw_series(ends).map_err(failed)?;
            }
            let label = values.iter().map(|value| number(*value, 0)).collect::<Vec<_>>().join(" / ");
            let text = EmptyElement::at((end, middle))
                + Text::new(label, (0, 0), style(14, &INK, HPos::Right, VPos::Center));
            chart.draw_series([text]).map_err(failed)?;
            let name = EmptyElement::at((start, middle))
                + Text::new(name.clone(), (-8, 0), style(14, &INK, HPos::Right, VPos::Center));
            chart.draw_series([name]).map_err(failed)?;
        }
        Ok(())
    }
}

/// Draws lines in panels.
pub fn lines(of: &[Lines]) -> Result<String> {
    panels(360, of.len(), |area, index| of.get(index).map_or(Ok(()), |panel| panel.draw(area)))
}

impl Lines {
    fn draw(&self, area: &Area<'_>) -> Result<()> {
        let scale = |x: f64| if self.logarithmic { x.log10() } else { x };
        let (first, last) = match (self.x_marks.first(), self.x_marks.last()) {
            (Some(&first), Some(&last)) => (scale(first), scale(last)),
            _ => return Ok(()),
        };
        let (low, high) = self.y_range;
        let beside = (last - first) * 0.05;
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, style(17, &INK, HPos::Left, VPos::Top))
            .margin(8)
            .margin_right(16)
            .x_label_area_size(48)
            .y_label_area_size(64)
            .build_cartesian_2d(first - beside..last + beside, low..high)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .y_labels(7)
            .y_label_formatter(&|value| number(*value, self.digits))
            .x_desc(&self.x_axis)
            .y_desc(&self.y_axis)
            .axis_desc_style(style(14, &INK, HPos::Center, VPos::Top))
            .label_style(style(13, &INK, HPos::Right, VPos::Center))
            .light_line_style(WHITE)
            .bold_line_style(FAINT)
            .axis_style(INK)
            .draw()
            .map_err(failed)?;
        for &mark in &self.x_marks {
            let text = EmptyElement::at((scale(mark), low))
                + Text::new(brief(mark), (0, 8), style(13, &INK, HPos::Center, VPos::Top));
            chart.draw_series([text]).map_err(failed)?;
        }
        if let Some((name, value, noise)) = &self.reference {
            let (left, right) = (first - beside, last + beside);
            let band = [(left, (value - noise).max(low)), (right, (value + noise).min(high))];
            let band = Rectangle::new(band, Role::Reference.color().mix(0.12).filled());
            chart.draw_series([band]).map_err(failed)?;
            dashed(&mut chart, &[(left, *value), (right, *value)])?;
            let text = EmptyElement::at((left, low))
                + Text::new(name.clone(), (8, -8), style(13, &INK, HPos::Left, VPos::Bottom));
            chart.draw_series([text]).map_err(failed)?;
        }
        let ours = Role::Ours.color();
        let dots = self.dots.iter().map(|&(x, y)| Circle::new((scale(x), y), 4, ours.mix(0.45).filled()));
        chart.draw_series(dots).map_err(failed)?;
        for (name, role, points) in &self.lines {
            let points: Vec<(f64, f64)> = points.iter().map(|&(x, y)| (scale(x), y)).collect();
            let color = role.color();
            let thick =
                color.stroke_width(if *role == Role::Other || *role == Role::Another { 2 } else { 3 });
            if *role == Role::Reference {
                dashed(&mut chart, &points)?;
            } else {
                chart.draw_series(LineSeries::new(points.iter().copied(), thick)).map_err(failed)?;
            }
            let marks = points.iter().map(|&point| Circle::new(point, 3, color.filled()));
            let drawn = chart.draw_series(marks).map_err(failed)?;
            if !name.is_empty() {
                drawn
                    .label(name)
                    .legend(move |(x, y)| Rectangle::new([(x, y - 2), (x + 18, y + 2)], color.filled()));
            }
        }
        if self.lines.iter().any(|line| !line.0.is_empty()) {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperLeft)
                .margin(8)
                .background_style(WHITE.mix(0.85))
                .label_font(style(14, &INK, HPos::Left, VPos::Top))
                .draw()
                .map_err(failed)?;
        }
        Ok(())
    }
}

fn dashed(chart: &mut Chart<'_, '_>, points: &[(f64, f64)]) -> Result<()> {
    let line = Role::Reference.color().stroke_width(2);
    chart.draw_series(DashedLineSeries::new(points.iter().copied(), 7, 5, line)).map_err(failed)?;
    Ok(())
}

/// A number for a mark of an axis: 150, 5k, 1M.
fn brief(value: f64) -> String {
    let is_whole = |unit: f64| value >= unit && value % unit == 0.0;
    match value {
        _ if is_whole(1e6) => format!("{}M", value / 1e6),
        _ if is_whole(1e3) => format!("{}k", value / 1e3),
        _ => number(value, 0),
    }
}

/// A number as people read it: 12,345.
pub fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((&*text, None), |(whole, rest)| (whole, Some(rest)));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if grouped == "0" && rest.is_none_or(|rest| rest.bytes().all(|digit| digit == b'0')) {
        ""
    } else {
        sign
    };
    match rest {
        Some(rest) => format!("{sign}{grouped}.{rest}"),
        None => format!("{sign}{grouped}"),
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(number(1_234_567.0, 0), "1,234,567");
        assert_eq!(number(999.96, 1), "1,000.0");
        assert_eq!((number(-1234.0, 0), number(-0.001, 2)), ("-1,234".to_owned(), "0.00".to_owned()));
    }
}
