//! Properties of the region parser, over texts made of markers and code, well formed and not.

use proptest::prelude::*;

use super::*;

const NESTED: &str = "\
fn f() {
    // ANCHOR: whole
    before();
    // ANCHOR: task_1_2_middle
    middle();
    // ANCHOR_END: task_1_2_middle
    // ANCHOR_END: whole
}
";

#[test]
fn finds_names_lines_and_bodies() {
    let regions = parse(NESTED).unwrap();
    let seen: Vec<_> = regions.iter().map(|r| (&*r.name, r.begin_line, r.end_line)).collect();
    assert_eq!(seen, [("whole", 2, 7), ("task_1_2_middle", 4, 6)]);
    assert_eq!(regions[1].body_of(NESTED), "    middle();\n");
    assert_eq!(regions[1].indent, "    ");
    assert_eq!(regions[1].task(), Some(TaskId { lab: 1, task: 2 }));
    assert_eq!(regions[0].task(), None);
}

#[test]
fn says_what_is_wrong_and_where() {
    let cases = [
        ("// ANCHOR: a\n", "1: region a is never closed"),
        ("x\n// ANCHOR_END: a\n", "2: region a is closed here, but was never opened"),
        (
            "// ANCHOR: a\n// ANCHOR_END: a\n// ANCHOR: a\n",
            "3: region a was opened before, in line 1",
        ),
        (
            "// ANCHOR: a\n// ANCHOR: b\n// ANCHOR_END: a\n// ANCHOR_END: b\n",
            "3: region a is closed here, inside b, which begins after it in line 2",
        ),
        (
            "// ANCHOR: task_1_1\n// ANCHOR: task_1_2\n",
            "2: region task_1_2 lies inside task_1_1: regions of tasks do not nest",
        ),
        (
            "  // ANCHOR:a\n",
            "1: expected `// ANCHOR: name` or `// ANCHOR_END: name`, found `// ANCHOR:a`",
        ),
        (
            "//ANCHOR_END: a b\n",
            "1: expected `// ANCHOR: name` or `// ANCHOR_END: name`, found `//ANCHOR_END: a b`",
        ),
    ];
    for (text, expected) in cases {
        let error = parse(text).unwrap_err();
        assert_eq!(format!("{}: {error}", error.line()), expected, "of {text:?}");
    }
}

#[test]
fn a_word_that_begins_like_a_marker_is_none() {
    assert_eq!(parse("// ANCHORS are explained below\nlet x = \"// ANCHOR: a\";\n").unwrap(), []);
}

#[test]
fn finds_one_region_where_others_are_broken() {
    let broken =
        "// ANCHOR_END: a\n// ANCHOR: b\n// ANCHOR: a\nx\n// ANCHOR_END: a\n// ANCHOR: a\n";
    let region = find(broken, "a").unwrap();
    assert_eq!((region.begin_line, region.end_line, region.body_of(broken)), (3, 5, "x\n"));
    assert_eq!(find(broken, "b"), None);
    assert_eq!(find("// ANCHOR: a\nno end", "a"), None);
}

/// Well-formed text: a forest of regions with lines of code between, and how many regions it has.
fn well_formed() -> impl Strategy<Value = (String, usize)> {
    let line = "[ ]{0,8}(let x = 1;|\\}|// a comment|é…)?\r?\n";
    let leaf = line.prop_map(|line| vec![line]);
    let tree = leaf.prop_recursive(4, 40, 5, |inner| {
        (prop::collection::vec(inner, 0..5), any::<bool>(), 0..9_usize).prop_map(
            |(parts, wrap, indent)| {
                let mut lines = parts.concat();
                if wrap {
                    let pad = " ".repeat(indent);
                    lines.insert(0, format!("{pad}// ANCHOR: @\n"));
                    lines.push(format!("{pad}// ANCHOR_END: @\n"));
                }
                lines
            },
        )
    });
    tree.prop_map(|lines| {
        // Names are given in order of opening; a closing marker takes the innermost open one's.
        let (mut text, mut next, mut open) = (String::new(), 0, Vec::new());
        for line in lines {
            if line.contains("ANCHOR: @") {
                open.push(next);
                next += 1;
                text += &line.replace('@', &format!("r{}", next - 1));
            } else if line.contains("ANCHOR_END: @") {
                text += &line.replace('@', &format!("r{}", open.pop().unwrap()));
            } else {
                text += &line;
            }
        }
        (text, next)
    })
}

proptest! {
    #[test]
    fn well_formed_text_parses_into_all_its_regions((text, count) in well_formed()) {
        let regions = parse(&text).unwrap();
        prop_assert_eq!(regions.len(), count);
        for region in &regions {
            prop_assert_eq!(find(&text, &region.name), Some(region.clone()));
            let lines = text.lines().count();
            prop_assert!(region.begin_line < region.end_line && region.end_line <= lines);
            prop_assert_eq!(
                region.body_of(&text).lines().count(),
                region.end_line - region.begin_line - 1
            );
        }
    }

    #[test]
    fn replacing_a_body_by_itself_changes_nothing((text, count) in well_formed()) {
        for region in parse(&text).unwrap() {
            let same = replace(&text, &region.name, region.body_of(&text)).unwrap();
            prop_assert_eq!(&same, &text);
            let emptied = replace(&text, &region.name, "").unwrap();
            prop_assert!(find(&emptied, &region.name).unwrap().body.is_empty());
        }
        prop_assert_eq!(replace(&text, &format!("r{count}"), ""), None);
    }

    #[test]
    fn no_text_at_all_makes_it_panic(text in "((// )?(ANCHOR|ANCHOR_END)?:?[ ]?(a|b|task_1_2)?[ \r\n]?){0,30}") {
        if let Err(error) = parse(&text) {
            prop_assert!((1..=text.lines().count()).contains(&error.line()));
        }
        let _ = find(&text, "a");
    }
}
