"""BibTeX of the papers that the layers come from; each layer names its own as `reference`."""

SRIVASTAVA_2014 = """@article{srivastava2014dropout,
  title = {Dropout: a simple way to prevent neural networks from overfitting},
  author = {Srivastava, Nitish and Hinton, Geoffrey and Krizhevsky, Alex and Sutskever, Ilya and Salakhutdinov, Ruslan},
  journal = {Journal of Machine Learning Research},
  volume = {15},
  pages = {1929--1958},
  year = {2014}
}"""

TOMPSON_2015 = """@inproceedings{tompson2015efficient,
  title = {Efficient object localization using convolutional networks},
  author = {Tompson, Jonathan and Goroshin, Ross and Jain, Arjun and LeCun, Yann and Bregler, Christoph},
  booktitle = {Conference on Computer Vision and Pattern Recognition},
  year = {2015}
}"""

WAN_2013 = """@inproceedings{wan2013regularization,
  title = {Regularization of neural networks using {DropConnect}},
  author = {Wan, Li and Zeiler, Matthew and Zhang, Sixin and LeCun, Yann and Fergus, Rob},
  booktitle = {International Conference on Machine Learning},
  year = {2013}
}"""

MERITY_2018 = """@inproceedings{merity2018regularizing,
  title = {Regularizing and optimizing {LSTM} language models},
  author = {Merity, Stephen and Keskar, Nitish Shirish and Socher, Richard},
  booktitle = {International Conference on Learning Representations},
  year = {2018}
}"""

KRUEGER_2017 = """@inproceedings{krueger2017zoneout,
  title = {Zoneout: regularizing {RNN}s by randomly preserving hidden activations},
  author = {Krueger, David and Maharaj, Tegan and Kram{\\'a}r, J{\\'a}nos and Pezeshki, Mohammad and Ballas, Nicolas
    and Ke, Nan Rosemary and Goyal, Anirudh and Bengio, Yoshua and Courville, Aaron and Pal, Christopher},
  booktitle = {International Conference on Learning Representations},
  year = {2017}
}"""

GAL_2016_RECURRENT = """@inproceedings{gal2016theoretically,
  title = {A theoretically grounded application of dropout in recurrent neural networks},
  author = {Gal, Yarin and Ghahramani, Zoubin},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2016}
}"""

GAL_2017_CONCRETE = """@inproceedings{gal2017concrete,
  title = {Concrete dropout},
  author = {Gal, Yarin and Hron, Jiri and Kendall, Alex},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2017}
}"""

KINGMA_2015 = """@inproceedings{kingma2015variational,
  title = {Variational dropout and the local reparameterization trick},
  author = {Kingma, Diederik P. and Salimans, Tim and Welling, Max},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2015}
}"""

MOLCHANOV_2017 = """@inproceedings{molchanov2017variational,
  title = {Variational dropout sparsifies deep neural networks},
  author = {Molchanov, Dmitry and Ashukha, Arsenii and Vetrov, Dmitry},
  booktitle = {International Conference on Machine Learning},
  year = {2017}
}"""

VASWANI_2017 = """@inproceedings{vaswani2017attention,
  title = {Attention is all you need},
  author = {Vaswani, Ashish and Shazeer, Noam and Parmar, Niki and Uszkoreit, Jakob and Jones, Llion and Gomez, Aidan N.
    and Kaiser, {\\L}ukasz and Polosukhin, Illia},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2017}
}"""

KLAMBAUER_2017 = """@inproceedings{klambauer2017self,
  title = {Self-normalizing neural networks},
  author = {Klambauer, G{\\"u}nter and Unterthiner, Thomas and Mayr, Andreas and Hochreiter, Sepp},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2017}
}"""

BISHOP_1995 = """@article{bishop1995training,
  title = {Training with noise is equivalent to {Tikhonov} regularization},
  author = {Bishop, Chris M.},
  journal = {Neural Computation},
  volume = {7},
  number = {1},
  pages = {108--116},
  year = {1995}
}"""

GLOROT_2011 = """@inproceedings{glorot2011deep,
  title = {Deep sparse rectifier neural networks},
  author = {Glorot, Xavier and Bordes, Antoine and Bengio, Yoshua},
  booktitle = {International Conference on Artificial Intelligence and Statistics},
  year = {2011}
}"""

GHIASI_2018 = """@inproceedings{ghiasi2018dropblock,
  title = {{DropBlock}: a regularization method for convolutional networks},
  author = {Ghiasi, Golnaz and Lin, Tsung-Yi and Le, Quoc V.},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2018}
}"""

DEVRIES_2017 = """@article{devries2017improved,
  title = {Improved regularization of convolutional neural networks with {Cutout}},
  author = {DeVries, Terrance and Taylor, Graham W.},
  journal = {arXiv preprint arXiv:1708.04552},
  year = {2017}
}"""

HUANG_2016 = """@inproceedings{huang2016deep,
  title = {Deep networks with stochastic depth},
  author = {Huang, Gao and Sun, Yu and Liu, Zhuang and Sedra, Daniel and Weinberger, Kilian Q.},
  booktitle = {European Conference on Computer Vision},
  year = {2016}
}"""

LIU_2023 = """@inproceedings{liu2023patchdropout,
  title = {{PatchDropout}: economizing vision transformers using patch dropout},
  author = {Liu, Yue and Matsoukas, Christos and Strand, Fredrik and Azizpour, Hossein and Smith, Kevin},
  booktitle = {Winter Conference on Applications of Computer Vision},
  year = {2023}
}"""

BOWMAN_2016 = """@inproceedings{bowman2016generating,
  title = {Generating sentences from a continuous space},
  author = {Bowman, Samuel R. and Vilnis, Luke and Vinyals, Oriol and Dai, Andrew M. and Jozefowicz, Rafal
    and Bengio, Samy},
  booktitle = {Conference on Computational Natural Language Learning},
  year = {2016}
}"""

VINCENT_2010 = """@article{vincent2010stacked,
  title = {Stacked denoising autoencoders: learning useful representations in a deep network with a local denoising
    criterion},
  author = {Vincent, Pascal and Larochelle, Hugo and Lajoie, Isabelle and Bengio, Yoshua and Manzagol, Pierre-Antoine},
  journal = {Journal of Machine Learning Research},
  volume = {11},
  pages = {3371--3408},
  year = {2010}
}"""

CAFFE2 = """@misc{caffe2,
  title = {{Caffe2}: operators {SparseDropoutWithReplacement} and {SparseItemwiseDropoutWithReplacement}},
  author = {{Caffe2 contributors}},
  howpublished = {caffe2/operators in github.com/pytorch/pytorch},
  year = {2021}
}"""
