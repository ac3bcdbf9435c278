# Filled in by `cargo xtask formula`, which a release runs.
class Tollgate < Formula
  desc "Quotas, prepaid credits, usage metering and bills in one binary"
  homepage "https://github.com/@REPOSITORY@"
  version "@VERSION@"
  license any_of: ["MIT", "Apache-2.0"]

  on_macos do
    depends_on arch: :arm64
    url "https://github.com/@REPOSITORY@/releases/download/v@VERSION@/tollgate-v@VERSION@-aarch64-apple-darwin.tar.gz"
    sha256 "@aarch64-apple-darwin@"
  end

  on_linux do
    on_arm do
      url "https://github.com/@REPOSITORY@/releases/download/v@VERSION@/tollgate-v@VERSION@-aarch64-unknown-linux-gnu.tar.gz"
      sha256 "@aarch64-unknown-linux-gnu@"
    end
    on_intel do
      url "https://github.com/@REPOSITORY@/releases/download/v@VERSION@/tollgate-v@VERSION@-x86_64-unknown-linux-gnu.tar.gz"
      sha256 "@x86_64-unknown-linux-gnu@"
    end
  end

  def install
    bin.install "tollgate"
    generate_completions_from_executable(bin/"tollgate", "completions")
  end

  service do
    run [opt_bin/"tollgate", "serve"]
    environment_variables TOLLGATE_STORE: "embedded:#{var}/tollgate"
    keep_alive true
    log_path var/"log/tollgate.log"
    error_log_path var/"log/tollgate.log"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/tollgate --version")
    port = free_port
    pid = spawn({ "TOLLGATE_LISTEN" => "127.0.0.1:#{port}", "TOLLGATE_STORE" => "memory:" }, bin/"tollgate", "serve")
    begin
      assert_match "ready", shell_output("curl --silent --retry 5 --retry-connrefused http://127.0.0.1:#{port}/ready")
    ensure
      Process.kill("TERM", pid)
      Process.wait(pid)
    end
  end
end
