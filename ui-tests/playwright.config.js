const baseConfig = require('@jupyterlab/galata/lib/playwright-config');

const port = process.env.CELLSPAN_UI_PORT ?? '8899';
const baseURL = `http://127.0.0.1:${port}`;

module.exports = {
  ...baseConfig,
  testDir: 'tests',
  // One server serves them all, and it has one workspace.
  workers: 1,
  retries: 0,
  timeout: 60 * 1000,
  reporter: [['list'], ['html', { open: 'never' }]],
  use: {
    ...baseConfig.use,
    baseURL,
    // Galata's default records video, which needs Playwright's own ffmpeg.
    video: 'off',
    trace: 'off',
    screenshot: 'only-on-failure',
    launchOptions: {
      // The system's browser: none is downloaded.
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync'
      ]
    }
  },
  webServer: {
    command: 'jupyter lab --config jupyter_server_test_config.py >server.log 2>&1',
    url: `${baseURL}/lab`,
    timeout: 120 * 1000,
    // By default it is killed, and could not stop its kernels and clusters.
    gracefulShutdown: { signal: 'SIGTERM', timeout: 15 * 1000 },
    reuseExistingServer: !process.env.CI
  }
};
