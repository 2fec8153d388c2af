//! Bars for people.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::results::{Figure, Results, ours};

const SIZE: (u32, u32) = (860, 380);
/// Each server has its colour in all plots.
const COLOURS: [(&str, RGBColor); 6] = [
    ("baseline", RGBColor(150, 150, 150)),
    ("fanfare", RGBColor(34, 102, 204)),
    ("nchan", RGBColor(90, 160, 90)),
    ("nchan-redis", RGBColor(160, 200, 120)),
    ("pushpin", RGBColor(220, 130, 60)),
    ("fanfare-http", RGBColor(120, 170, 230)),
];

/// A plot.
struct Plot {
    file: &'static str,
    title: &'static str,
    servers: &'static [&'static str],
    /// What stands under each group of bars, and the figure, which is shown for each server.
    groups: &'static [(&'static str, Figure<'static>)],
}

const PLOTS: [Plot; 4] = [
    Plot {
        file: "broadcast.svg",
        title: "Broadcast, one in flight: microseconds of CPU for each delivery",
        servers: &["baseline", "fanfare", "nchan"],
        groups: &[
            ("1,000 streams", ours("broadcast", "1,000", "cpu us")),
            ("5,000 streams", ours("broadcast", "5,000", "cpu us")),
            ("15,000 streams", ours("broadcast", "15,000", "cpu us")),
        ],
    },
    Plot {
        file: "batching.svg",
        title: "Broadcast to 5,000: deliveries a second on one core",
        servers: &["baseline", "fanfare", "nchan"],
        groups: &[
            ("1 in flight", ours("broadcast", "5,000", "deliveries/s")),
            ("8 in flight", ours("batching", "8 in flight", "deliveries/s")),
        ],
    },
    Plot {
        file: "delays.svg",
        title: "Per user at half of full load: publish to receipt, milliseconds",
        servers: &["baseline", "fanfare", "nchan-redis"],
        groups: &[
            ("p50", ours("latency", "half load", "p50 ms")),
            ("p99", ours("latency", "half load", "p99 ms")),
            ("p99.9", ours("latency", "half load", "p99.9 ms")),
        ],
    },
    Plot {
        file: "idle.svg",
        title: "User-space memory of an idle stream, bytes",
        servers: &["baseline", "fanfare", "nchan", "nchan-redis", "pushpin"],
        groups: &[("10,000 streams (Pushpin 3,000)", ours("idle", "idle", "bytes"))],
    },
];

/// Returns all plots: file names and SVG texts. Where nothing was measured there are no bars.
pub(super) fn all(results: &Results) -> anyhow::Result<Vec<(&'static str, String)>> {
    PLOTS.iter().map(|plot| Ok((plot.file, plot.draw(results)?))).collect()
}

impl Plot {
    fn draw(&self, results: &Results) -> anyhow::Result<String> {
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
            self.draw_on(&area, results).map_err(|error| anyhow::anyhow!("{}: {error}", self.file))?;
            area.present()?;
        }
        Ok(text)
    }

    fn draw_on<'a>(
        &self,
        area: &DrawingArea<SVGBackend<'a>, Shift>,
        results: &Results,
    ) -> Result<(), Box<dyn std::error::Error + 'a>> {
        let bars = self.bars(results);
        let highest = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
        let top = if highest > 0.0 { highest * 1.15 } else { 1.0 };
        area.fill(&WHITE)?;
        #[allow(clippy::cast_precision_loss, reason = "a handful of groups")]
        let wide = self.group_width() * self.groups.len() as f64;
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(28)
            .y_label_area_size(64)
            .build_cartesian_2d(-0.5..wide, 0.0..top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .light_line_style(WHITE)
            .y_label_formatter(&|value| super::number::number(*value))
            .draw()?;
        for (at, server) in self.servers.iter().enumerate() {
            let colour = colour(server);
            let own = bars.iter().filter(|bar| bar.server == at);
            chart
                .draw_series(own.clone().map(|bar| {
                    Rectangle::new([(bar.from, 0.0), (bar.from + 0.9, bar.value)], colour.filled())
                }))?
                .label(*server)
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
            chart.draw_series(own.map(|bar| {
                let text = super::number::number(bar.value);
                Text::new(text, (bar.from + 0.45, bar.value), style(12, VPos::Bottom))
            }))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE)
            .border_style(WHITE)
            .draw()?;
        let mut middle = self.group_width() / 2.0 - 0.5;
        for (label, _) in self.groups {
            let (x, y) = chart.backend_coord(&(middle, 0.0));
            area.draw(&Text::new(*label, (x, y + 8), style(14, VPos::Top)))?;
            middle += self.group_width();
        }
        Ok(())
    }

    /// Returns how many bars wide a group is, with the gap behind it.
    #[allow(clippy::cast_precision_loss, reason = "a handful of servers")]
    fn group_width(&self) -> f64 {
        self.servers.len() as f64 + 1.0
    }

    fn bars(&self, results: &Results) -> Vec<Column> {
        let mut bars = Vec::new();
        let mut from = 0.0;
        for (_, figure) in self.groups {
            for (server, name) in self.servers.iter().enumerate() {
                if let Some(found) = results.figure(figure.of(name)) {
                    bars.push(Column { from, value: found.median, server });
                }
                from += 1.0;
            }
            from += 1.0;
        }
        bars
    }
}

/// One bar.
struct Column {
    /// Its left edge.
    from: f64,
    value: f64,
    /// Which of the plot's servers.
    server: usize,
}

/// Text of a size, in the middle of its place.
fn style(size: u32, vertical: VPos) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&BLACK).pos(Pos::new(HPos::Center, vertical))
}

fn colour(server: &str) -> RGBColor {
    COLOURS.iter().find(|(name, _)| *name == server).map_or(BLACK, |(_, colour)| *colour)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_shows_what_was_found_and_an_empty_book_shows_nothing() {
        let mut results = Results::default();
        assert_eq!(all(&results).unwrap().len(), 4);
        results.recorder("idle", 0).write("idle", "fanfare", &[("bytes", 2345.0)]);
        let plots = all(&results).unwrap();
        let (_, idle) = plots.iter().find(|(file, _)| *file == "idle.svg").unwrap();
        assert!(idle.contains("2,345") && idle.trim_end().ends_with("</svg>"), "{idle}");
    }
}
