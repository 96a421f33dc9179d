// Command controlplane is etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet and kubectl in one executable.
//
// The name it is started by (a link) selects the component; started as itself, the first argument does:
//
//	kube-apiserver --etcd-servers=...
//	controlplane kube-apiserver --etcd-servers=...
package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	_ "time/tzdata"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// exitWithStdin is set by the test harness, which holds the other end of our stdin and never writes to it.
// The kernel closes that end however the harness dies, SIGKILL included, so no component outlives a killed test run.
const exitWithStdin = "LEASEHOLD_EXIT_WITH_STDIN"

// applets builds and runs exactly one upstream command each: constructing two in one process panics, because both
// install the process-wide signal handler.
var applets = map[string]func(){
	"etcd":                    func() { etcdmain.Main(os.Args) },
	"kube-apiserver":          func() { os.Exit(cli.Run(apiserver.NewAPIServerCommand())) },
	"kube-controller-manager": func() { os.Exit(cli.Run(controllermanager.NewControllerManagerCommand())) },
	"kube-scheduler":          func() { os.Exit(cli.Run(scheduler.NewSchedulerCommand())) },
	"kubectl":                 runKubectl,
	"kubelet":                 func() { os.Exit(cli.Run(kubelet.NewKubeletCommand(context.Background()))) },
}

func main() {
	applet, found := selectApplet()
	if !found {
		names := strings.Join(slices.Sorted(maps.Keys(applets)), ", ")
		fmt.Fprintf(os.Stderr, "usage: controlplane <component> [flags], or start it by a component's name: %s\n", names)
		os.Exit(2)
	}
	if os.Getenv(exitWithStdin) == "1" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(1)
		}()
	}
	applet()
}

// selectApplet decides by our own name first, then by the first argument, which it consumes.
func selectApplet() (func(), bool) {
	if applet, found := applets[filepath.Base(os.Args[0])]; found {
		return applet, true
	}
	if len(os.Args) < 2 {
		return nil, false
	}
	applet, found := applets[os.Args[1]]
	if found {
		os.Args = os.Args[1:]
	}
	return applet, found
}

// runKubectl reports errors as the real kubectl does: on stderr, without usage.
func runKubectl() {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
}
