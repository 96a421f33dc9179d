use std::path::Path;
use leasehold_harness::{ControlPlane, Options, node};
const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/image");
fn main() -> anyhow::Result<()> {
    let rt = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if !node::is_isolated() {
        rt.block_on(async {
            let p = node::programs("leasehold.dev/programs:test", Path::new(DIR)).await?;
            println!("{p:?}");
            for x in ["containerd","runc","containernetworking-plugins"] { leasehold_harness::assets::debian_files(x).await?; }
            anyhow::Ok(())
        })?;
    }
    node::isolate()?;
    rt.block_on(async {
        let plane = ControlPlane::start(Options{real_node:true, ..Options::default()}).await?;
        println!("plane {}", plane.dir().display());
        let p = node::Image { name: "leasehold.dev/programs:test".into(), archive: Path::new(DIR).join("programs.tar"), digest: String::new() };
        let t = std::time::Instant::now();
        let node = node::Node::start(&plane, &[&p]).await?;
        println!("node ready {:?}", t.elapsed());
        let k = plane.admin_kubeconfig().to_owned();
        println!("{:?}", plane.kubectl(&k, &["run","one","--image=leasehold.dev/programs:test","--","sleep","1000"], None).await?);
        println!("{:?}", plane.kubectl(&k, &["wait","--for=condition=Ready","pod/one","--timeout=60s"], None).await?);
        println!("{}", plane.kubectl(&k, &["get","pod","one","-o","wide"], None).await?.stdout);
        println!("{:?}", plane.kubectl(&k, &["exec","one","--","sh","-c", "ls /bin; kubectl auth whoami"], None).await?);
        println!("{}", plane.kubectl(&k, &["describe","pod","one"], None).await?.stdout);
        node.stop().await?;
        plane.stop().await
    })
}
