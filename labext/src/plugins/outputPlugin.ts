/** Draws views in notebook output (`%cluster view`), in JupyterLab and Notebook 7. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IThemeManager } from '@jupyterlab/apputils';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { DOMAIN, ICellspanModel } from '../tokens';
import { VIEW_MIME, ViewOutput } from '../views/viewOutput';

/** Before text/html (60), the static table that goes along for other front ends. */
const RANK = 40;

export const outputPlugin: JupyterFrontEndPlugin<void> = {
  id: '@cellspan/labextension:output',
  description: 'Diagnostic views in notebook output.',
  autoStart: true,
  requires: [ICellspanModel, IRenderMimeRegistry],
  optional: [ITranslator, IThemeManager],
  activate: (
    _: JupyterFrontEnd,
    model: ICellspanModel,
    rendermime: IRenderMimeRegistry,
    translator: ITranslator | null,
    themes: IThemeManager | null
  ): void => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const outputs = new Set<ViewOutput>();
    rendermime.addFactory(
      {
        // A Bokeh picture may hold code: in a notebook that is not trusted the table is shown.
        safe: false,
        mimeTypes: [VIEW_MIME],
        defaultRank: RANK,
        createRenderer: () => {
          const output = new ViewOutput(model, trans);
          outputs.add(output);
          output.disposed.connect(() => outputs.delete(output));
          return output;
        }
      },
      RANK
    );
    themes?.themeChanged.connect(() => {
      outputs.forEach(output => {
        output.repaint();
      });
    });
  }
};
