//! Random catalogs.

use std::fmt::Write as _;

use tollgate_domain::Window;

use super::{Generator, LIMITED_BY, METERS, PATH_LIMITS, PLANS};

impl Generator {
    /// A catalog with all plans; a meter may be missing.
    pub fn catalog(&mut self) -> String {
        let thresholds = *self.pick(&["80, 100", "80, 100", "100, 50", "90", ""]);
        let mut text = format!("[notices]\nthresholds = [{thresholds}]\n");
        let meters = if self.one_in(8) { &METERS[..2] } else { &METERS[..] };
        for meter in meters {
            let _ = write!(text, "[[meters]]\nid = \"{meter}\"\nname = \"M\"\nunit = \"u\"\n");
            if *meter == "tokens" && !self.one_in(3) {
                text.push_str("properties = [\"model\"]\n");
            }
            if *meter == "seat:day" {
                text.push_str("sink = { product = \"seat\", unit = \"day\" }\n");
            }
            if *meter == "seat:day" && self.one_in(2) {
                text.push_str("aggregation = \"count\"\n");
            }
            text.push_str(aggregation(meter));
            if self.one_in(3) {
                let _ = writeln!(text, "windows = [\"{}\"]", self.pick(&["hour", "week"]));
            }
            if self.one_in(9) {
                text.push_str("unknown_properties = \"reject\"\n");
            }
        }
        for plan in PLANS {
            let _ = write!(text, "[[plans]]\nid = \"{plan}\"\nname = \"P\"\n");
            if plan == "trial" {
                text.push_str("trial_days = 14\n");
            }
            if self.one_in(3) {
                text.push_str("proration = \"none\"\n");
            }
            if self.one_in(3) {
                let thresholds = *self.pick(&["60, 95", "100", "50, 75, 90", ""]);
                let _ = writeln!(text, "notices = {{ thresholds = [{thresholds}] }}");
            }
            if self.one_in(8) {
                text.push_str("currency = \"JPY\"\n");
            }
            for (flag, rare) in [("retired", 12), ("deprecated", 6)] {
                if self.one_in(rare) {
                    let _ = writeln!(text, "{flag} = true");
                }
            }
            for meter in meters {
                self.allowance(&mut text, meter);
            }
            for meter in meters {
                self.plan_limits(&mut text, meter);
            }
            self.prices(&mut text, meters);
        }
        text
    }

    /// A fee, prices of every model, and one that takes the place of another where a property says so.
    fn prices(&mut self, text: &mut String, meters: &[&str]) {
        let fee = self.rng.u32(0..50);
        let unit = self.rng.u32(1..2_000);
        let tokens = "id = \"tokens\"\nname = \"M\"\nunit = \"u\"\n";
        let by_model = text.contains(&format!("{tokens}properties"));
        let mut price = |fields: String| {
            let _ = write!(text, "[[plans.prices]]\n{fields}\n");
        };
        price(format!("model = \"flat\"\nflat_fee = {fee}"));
        for meter in meters {
            let model = match self.rng.u32(0..5) {
                0 => format!("model = \"per_unit\"\nunit_price = \"0.{unit:04}\""),
                1 => format!("model = \"package\"\npackage_size = 7\npackage_price = {fee}\nincluded = 3"),
                2 => format!(
                    "model = \"graduated\"\ntiers = [{{ up_to = 10, unit_price = \"0.{unit:04}\" }}, {{ unit_price = 2 }}]"
                ),
                3 => format!(
                    "model = \"volume\"\ntiers = [{{ up_to = 10, unit_price = 2 }}, {{ unit_price = \"0.{unit:04}\" }}]"
                ),
                _ => continue,
            };
            let bounds = match self.rng.u32(0..4) {
                0 => "\nminimum = 7\nmaximum = 20",
                1 => "\nminimum = \"1.5\"\ndiscount_percent = \"12.5\"",
                _ => "",
            };
            price(format!("meter = \"{meter}\"\n{model}{bounds}"));
            if by_model && *meter == "tokens" {
                price(format!(
                    "meter = \"{meter}\"\nwhere = {{ model = \"a\" }}\nmodel = \"per_unit\"\nunit_price = 3"
                ));
            }
        }
    }

    fn allowance(&mut self, text: &mut String, meter: &str) {
        if self.one_in(5) {
            return;
        }
        if !aggregation(meter).is_empty() {
            let _ = write!(
                text,
                "[[plans.allowances]]\nmeter = \"{meter}\"\namount = 0\nenforcement = \"none\"\n"
            );
            return;
        }
        let amount = *self.pick(&["0", "3", "10", "10", "12.5", "40", "40", "150"]);
        let enforcement =
            if self.all_hard { "hard" } else { *self.pick(&["hard", "hard", "overdraft", "soft", "none"]) };
        let priority = *self.pick(&[100, 100, 50, 200]);
        let last_below = *self.pick(&["0", "0", "5", "20.5"]);
        let _ = write!(
            text,
            "[[plans.allowances]]\nmeter = \"{meter}\"\namount = \"{amount}\"\nenforcement = \"{enforcement}\"\n\
             priority = {priority}\nlast_below = \"{last_below}\"\n"
        );
    }

    fn plan_limits(&mut self, text: &mut String, meter: &str) {
        for scope in ["org", "user", "path"] {
            let of_calendar = Window::ALL.map(|window| (window, 14));
            let others = LIMITED_BY.map(|name| (name.parse::<Window>().expect("a window"), 25));
            for (window, rare) in of_calendar.into_iter().chain(others) {
                if window.moves() && !aggregation(meter).is_empty() {
                    continue;
                }
                if self.one_in(rare) {
                    let amount = self.rng.u32(1..40);
                    let _ = write!(
                        text,
                        "[[plans.limits]]\nmeter = \"{meter}\"\nscope = \"{scope}\"\nwindow = \"{window}\"\n\
                         amount = {amount}\n"
                    );
                    if scope == "path" {
                        let _ = writeln!(text, "path = \"{}\"", self.pick(&PATH_LIMITS));
                    }
                }
            }
        }
    }
}

/// How a meter whose parts do not add up counts, for good.
fn aggregation(meter: &str) -> &'static str {
    match meter {
        "peaks" => "aggregation = \"max\"\nproperties = [\"model\"]\n",
        "levels" => "aggregation = \"last\"\n",
        "people" => "aggregation = \"unique\"\nunique_by = \"user\"\nproperties = [\"model\"]\n",
        "models" => "aggregation = \"unique\"\nunique_by = \"model\"\n",
        _ => "",
    }
}
