//! Every scenario holds, and comes to the point that it is about: the plans in `plans/scenarios`,
//! each of which fails once the bug is planted that it names (`cargo xtask mutants`).

use std::path::Path;

use headwater_sim::plan::Plan;
use headwater_sim::run::run;
use headwater_sim::trace::Verbosity;

#[test]
fn every_scenario_holds_and_comes_to_its_point() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/scenarios");
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in std::fs::read_dir(folder).expect("the folder of scenarios") {
        let path = file.expect("a scenario").path();
        let text = std::fs::read_to_string(&path).expect("a scenario");
        let plan = Plan::parse(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let printed = plan.to_string();
        assert_eq!(Plan::parse(&printed).as_ref(), Ok(&plan), "{printed}");
        assert_eq!(plan.mistake(), None, "{}", path.display());
        let claims = text.matches("expect that=").count() + text.matches("demand that=").count();
        assert!(claims > 0, "{} claims nothing", path.display());
        let report = run(plan, Verbosity::Silent.into());
        if let Some(violation) = report.violation {
            wrong.push(format!("{}: {violation}", path.display()));
        }
        count += 1;
    }
    assert!(count >= 20, "only {count} scenarios");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
