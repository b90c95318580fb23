//! Prints the custom resource definitions: `cargo run -p chaos --example crds > clusters/chaos-mesh/crds.yaml`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    print!("{}", chaos::crds::manifest()?);
    Ok(())
}
