import { expect } from '@jupyterlab/galata';
import { test } from './support';

test('the lab extension is installed and all its plugins start', async ({ page }) => {
  const plugins = await page.evaluate(() =>
    window.jupyterapp
      .listPlugins()
      .filter(id => id.startsWith('@cellspan/labextension:'))
      .map(id => ({ id, isActivated: window.jupyterapp.isPluginActivated(id) }))
  );
  expect(plugins).not.toEqual([]);
  expect(plugins.filter(plugin => !plugin.isActivated)).toEqual([]);
});
