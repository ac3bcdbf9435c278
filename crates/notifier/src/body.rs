//! Shipments as bytes: always the same for the same shipment.

use tollgate_api::{Aggregate, AggregateBatch, AggregatesCommitted};
use tollgate_domain::{Amount, OrgId, Period, Shipment, Sku};

/// What an org used of a SKU on the day with a number.
#[must_use]
pub fn aggregate(org: &OrgId, sku: &Sku, day: i32, amount: Amount) -> Aggregate {
    let Sku { product, unit } = sku;
    let date = date(day);
    Aggregate {
        pulse_key: format!("{org}:{product}:{unit}:{date}"),
        tenant_id: org.to_string(),
        product_sku: product.clone(),
        use_unit: unit.clone(),
        total_used_amount: amount.into(),
        aggregation_date: date,
    }
}

pub(crate) fn date(day: i32) -> String {
    Period::day(day).label()
}

/// A shipment as one JSON document.
pub(crate) fn document(shipment: &Shipment) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&AggregatesCommitted {
        r#type: "aggregates.committed".to_owned(),
        timestamp: shipment.at.to_string(),
        data: AggregateBatch {
            id: shipment.id.to_string(),
            date: date(shipment.day),
            aggregates: aggregates(shipment).collect(),
        },
    })
}

/// A shipment as a JSON document a line, one for each of its lines.
pub(crate) fn lines(shipment: &Shipment) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::new();
    for aggregate in aggregates(shipment) {
        serde_json::to_writer(&mut bytes, &aggregate)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

fn aggregates(shipment: &Shipment) -> impl Iterator<Item = Aggregate> {
    shipment.lines.iter().map(|line| aggregate(&line.org, &line.sku, shipment.day, line.amount))
}

#[cfg(test)]
pub(crate) mod tests {
    use tollgate_domain::{ShipmentId, ShipmentLine, Timestamp};

    use super::*;

    pub(crate) fn shipment() -> Shipment {
        let line = |org: &str, product: &str, unit: &str, amount: &str| ShipmentLine {
            org: OrgId::new(org).expect("an org"),
            sku: Sku { product: product.to_owned(), unit: unit.to_owned() },
            amount: Amount::parse(amount).expect("an amount"),
        };
        Shipment {
            number: 1,
            id: ShipmentId::new("00ff").expect("an id"),
            day: 20_778,
            at: Timestamp::from_second(1_795_219_200).expect("a time"),
            lines: vec![line("acme", "vm", "hour", "1.5"), line("b\"c", "a:b", "%", "-3")],
        }
    }

    #[test]
    fn a_shipment_is_told_in_the_words_of_the_pulses_api() {
        let first = r#"{"TenantId":"acme","ProductSKU":"vm","UseUnit":"hour","TotalUsedAmount":1.5,"AggregationDate":"2026-11-21","PulseKey":"acme:vm:hour:2026-11-21"}"#;
        let second = r#"{"TenantId":"b\"c","ProductSKU":"a:b","UseUnit":"%","TotalUsedAmount":-3,"AggregationDate":"2026-11-21","PulseKey":"b\"c:a:b:%:2026-11-21"}"#;
        let head = r#"{"type":"aggregates.committed","timestamp":"2026-11-21T00:00:00Z","data":{"id":"00ff","date":"2026-11-21","aggregates":"#;
        let text = |bytes: Result<Vec<u8>, serde_json::Error>| {
            String::from_utf8(bytes.expect("JSON")).expect("UTF-8")
        };
        assert_eq!(text(document(&shipment())), format!("{head}[{first},{second}]}}}}"));
        assert_eq!(text(lines(&shipment())), format!("{first}\n{second}\n"));
    }
}
