//! A strict reading of OpenMetrics 1.0 text: whatever the standard forbids is an error, and so is what it only advises
//! against and this project does not do (samples with times, empty families).

use std::collections::{BTreeMap, BTreeSet};

/// A text that was read without complaint.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    /// Type by family.
    pub(crate) families: BTreeMap<String, String>,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Scrape {
    /// The value of a series; its labels as `name=value`.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[&str]) -> f64 {
        let labels: BTreeMap<String, String> =
            labels.iter().map(|l| l.split_once('=').unwrap()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let found = self.samples.iter().find(|s| s.name == name && s.labels == labels);
        found.unwrap_or_else(|| panic!("there is no {name}{labels:?}")).value
    }
}

/// Reads a whole text.
pub(crate) fn parse(text: &str) -> Result<Scrape, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("the last line is not `# EOF`")?;
    let mut scrape = Scrape::default();
    let mut family = Family::default();
    for line in body.split_terminator('\n') {
        let wrong = |what: String| format!("{what}: {line}");
        if let Some(meta) = line.strip_prefix("# ") {
            let (kind, rest) = meta.split_once(' ').ok_or_else(|| wrong("no comments are allowed".into()))?;
            let (name, text) = rest.split_once(' ').ok_or_else(|| wrong("metadata without a text".into()))?;
            if name != family.name {
                family.close(&mut scrape)?;
                family = Family { name: name.to_owned(), ..Family::default() };
                if scrape.families.contains_key(name) {
                    return Err(wrong("a family comes twice".into()));
                }
            }
            family.describe(kind, text).map_err(wrong)?;
        } else {
            family.sample(line).map_err(wrong)?;
        }
    }
    family.close(&mut scrape)?;
    Ok(scrape)
}

#[derive(Default)]
struct Family {
    name: String,
    meta: BTreeMap<&'static str, String>,
    samples: Vec<Sample>,
}

impl Family {
    fn describe(&mut self, kind: &str, text: &str) -> Result<(), String> {
        let kind = ["HELP", "TYPE", "UNIT"].into_iter().find(|k| *k == kind).ok_or("an unknown kind of metadata")?;
        if !self.samples.is_empty() {
            return Err("metadata after the first sample".into());
        }
        if !is_name(&self.name) {
            return Err("not a name".into());
        }
        if self.meta.insert(kind, text.to_owned()).is_some() {
            return Err(format!("a second {kind}"));
        }
        match kind {
            "UNIT" if !self.name.ends_with(&format!("_{text}")) => Err("the name does not end in the unit".into()),
            "TYPE" if !["counter", "gauge", "histogram", "info"].contains(&text) => Err("an unknown type".into()),
            "HELP" if text.trim().is_empty() => Err("an empty help".into()),
            _ => Ok(()),
        }
    }

    fn kind(&self) -> &str {
        self.meta.get("TYPE").map_or("unknown", String::as_str)
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let sample = sample(line)?;
        let suffix = sample.name.strip_prefix(&self.name).ok_or("a sample outside of its family")?;
        let fits = match self.kind() {
            "counter" => suffix == "_total",
            "gauge" => suffix.is_empty(),
            "info" => suffix == "_info",
            "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
            _ => return Err("a sample before its type".into()),
        };
        if !fits {
            return Err(format!("a {} has no {suffix:?}", self.kind()));
        }
        if sample.value.is_nan() || (self.kind() != "gauge" && sample.value < 0.0) {
            return Err("not a value of this type".into());
        }
        if (suffix == "_bucket") != sample.labels.contains_key("le") {
            return Err("`le` belongs to buckets, and only to them".into());
        }
        if self.kind() == "info" && sample.value.to_string() != "1" {
            return Err("an info is 1".into());
        }
        if self.samples.iter().any(|s| s.name == sample.name && s.labels == sample.labels) {
            return Err("a series comes twice".into());
        }
        self.samples.push(sample);
        Ok(())
    }

    fn close(&self, scrape: &mut Scrape) -> Result<(), String> {
        if self.name.is_empty() && self.samples.is_empty() {
            return Ok(());
        }
        let wrong = |what: &str| Err(format!("{}: {what}", self.name));
        if !self.meta.contains_key("HELP") || !self.meta.contains_key("TYPE") {
            return wrong("no HELP or no TYPE");
        }
        if self.samples.is_empty() {
            return wrong("no samples");
        }
        let names: BTreeSet<Vec<&String>> =
            self.samples.iter().map(|s| s.labels.keys().filter(|k| *k != "le").collect()).collect();
        if names.len() > 1 {
            return wrong("its series do not all have the same labels");
        }
        if self.kind() == "histogram" {
            self.check_histograms().or_else(|what| wrong(&what))?;
        }
        scrape.families.insert(self.name.clone(), self.kind().to_owned());
        scrape.samples.extend(self.samples.iter().cloned());
        Ok(())
    }

    fn check_histograms(&self) -> Result<(), String> {
        let mut groups: BTreeMap<Vec<(String, String)>, Vec<&Sample>> = BTreeMap::new();
        for sample in &self.samples {
            let own = sample.labels.iter().filter(|(name, _)| *name != "le");
            groups.entry(own.map(|(k, v)| (k.clone(), v.clone())).collect()).or_default().push(sample);
        }
        for (labels, samples) in groups {
            let one = |suffix: &str| {
                let found = samples.iter().find(|s| s.name.strip_prefix(&self.name) == Some(suffix));
                found.map(|s| s.value).ok_or_else(|| format!("no {suffix} of {labels:?}"))
            };
            let (count, _sum) = (one("_count")?, one("_sum")?);
            let buckets: Vec<(f64, f64)> =
                samples.iter().filter_map(|s| Some((number(s.labels.get("le")?).ok()?, s.value))).collect();
            let rising = buckets.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1);
            if !rising || buckets.last() != Some(&(f64::INFINITY, count)) {
                return Err(format!("its buckets do not rise to +Inf and the count: {labels:?} {buckets:?}"));
            }
        }
        Ok(())
    }
}

fn is_name(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':');
    starts && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

fn number(text: &str) -> Result<f64, String> {
    match text {
        "+Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        "NaN" => Ok(f64::NAN),
        _ if text.contains(|c: char| c.is_ascii_alphabetic() && c != 'e' && c != 'E') => {
            Err(format!("no number: {text}"))
        }
        _ => text.parse().map_err(|_| format!("no number: {text}")),
    }
}

fn sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or("neither metadata nor a sample")?;
    let (name, rest) = line.split_at(end);
    if !is_name(name) {
        return Err("not a name".into());
    }
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = value.strip_prefix(' ').ok_or("no blank before the value")?;
    Ok(Sample { name: name.to_owned(), labels, value: number(value)? })
}

/// Labels up to `}`, and what follows it.
fn labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str), String> {
    let mut labels = BTreeMap::new();
    loop {
        let (name, value) = rest.split_once("=\"").ok_or("a label without a value")?;
        if !is_name(name) || name.contains(':') {
            return Err(format!("not a label: {name}"));
        }
        let (value, after) = quoted(value)?;
        if labels.insert(name.to_owned(), value).is_some() {
            return Err(format!("the label {name} comes twice"));
        }
        match after.split_at_checked(1) {
            Some((",", next)) => rest = next,
            Some(("}", next)) => return Ok((labels, next)),
            _ => return Err("neither `,` nor `}` after a label".into()),
        }
    }
}

/// The value up to its closing quote, and what follows it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('"' | '\\'))) => c,
                other => return Err(format!("a wrong escape: {other:?}")),
            }),
            c => value.push(c),
        }
    }
    Err("a label value without an end".into())
}

#[test]
fn what_the_standard_forbids_is_seen() {
    let good = "# HELP a_seconds Words.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
                a_seconds_sum{x=\"\\\"y\"} 1.5\na_seconds_count{x=\"\\\"y\"} 2\na_seconds_bucket{le=\"1.0\",x=\"\\\"y\"} 1\n\
                a_seconds_bucket{le=\"+Inf\",x=\"\\\"y\"} 2\n# HELP b Words.\n# TYPE b counter\nb_total 3\n# EOF\n";
    let scrape = parse(good).unwrap();
    assert_eq!(scrape.value("b_total", &[]).to_string(), "3");
    assert_eq!(scrape.value("a_seconds_sum", &["x=\"y"]).to_string(), "1.5");
    for (what, with) in [
        ("# EOF\n", ""),
        ("# EOF\n", "# EOF\nb_total 3\n"),
        ("b_total 3\n", ""),
        ("b_total 3\n", "b 3\n"),
        ("b_total 3\n", "b_total 3\nb_total 4\n"),
        ("b_total 3\n", "b_total -1\n"),
        ("b_total 3\n", "b_total NaN\n"),
        ("b_total 3\n", "b_total 3\n\n"),
        ("b_total 3\n", "b_total{} 3\n"),
        ("b_total 3\n", "b_total  3\n"),
        ("b_total 3\n", "b_total three\n"),
        ("b_total 3\n", "b_total{x=\"1\",x=\"2\"} 3\n"),
        ("b_total 3\n", "b_total{x=\"1} 3\n"),
        ("b_total 3\n", "b_total{x=\"\\y\"} 3\n"),
        ("b_total 3\n", "b_total{x=\"1\"} 3\nb_total{y=\"1\"} 3\n"),
        ("b_total 3\n", "b_total 3\n# TYPE a_seconds histogram\n"),
        ("# TYPE b counter\n", ""),
        ("# TYPE b counter\n", "# TYPE b countre\n"),
        ("# TYPE b counter\n", "# TYPE b counter\n# TYPE b counter\n"),
        ("# HELP b Words.\n", ""),
        ("# UNIT a_seconds seconds\n", "# UNIT a_seconds bytes\n"),
        ("a_seconds_sum{x=\"\\\"y\"} 1.5\n", ""),
        ("count{x=\"\\\"y\"} 2", "count{x=\"\\\"y\"} 3"),
        ("x=\"\\\"y\"} 1\n", "x=\"\\\"y\"} 3\n"),
        ("le=\"1.0\",", ""),
    ] {
        assert!(good.contains(what), "{what:?}");
        let bad = good.replacen(what, with, 1);
        assert!(parse(&bad).is_err(), "{what:?} became {with:?} and nobody saw it:\n{bad}");
    }
}
